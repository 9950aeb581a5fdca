// An identity provider on any free port of this machine.
//
//   node oidc-provider.mjs DIRECTORY-OF-PACKAGES
//
// People sign in on its pages with any name; `alice` and `bob` are in groups. Its clients:
//
//   dbt   a program on many machines, without a secret: browsers, devices, refresh tokens, and
//         tokens for what a trusted key has signed (RFC 8693)
//   catalog  the pages of a server on this machine, without a secret
//   ci    signs in with its secret and gets access tokens (RFC 9068) for https://dbt.example.com,
//         signed as the last segment of the resource says: https://dbt.example.com/ES256
//
// Besides what providers have: POST /rotate gives it new keys, and no old ones. POST /trust/NAME takes
// the public line of an SSH key of somebody who signs for themselves.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const packages = join(process.argv[2], 'node_modules');
const load = (file) => import(pathToFileURL(join(packages, file)));
const { default: Provider } = await load('oidc-provider/lib/index.js');
const { decodeJwt, importJWK, jwtVerify } = await load('jose/dist/webapi/index.js');

const AUDIENCE = 'https://dbt.example.com';
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const SCOPES = ['openid', 'offline_access', 'email', 'profile', 'groups'];
const PEOPLE = { alice: ['/publishers', '/staff'], bob: ['/staff'] };

const trusted = new Map();
let generation = 0;

function pair(algorithm) {
  if (algorithm === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' });
  if (algorithm === 'EdDSA') return generateKeyPairSync('ed25519');
  return generateKeyPairSync('rsa', { modulusLength: 2048 });
}

// Reads the public line of an SSH key (RFC 4253, 6.6; RFC 5656, 3.1; RFC 8709, 4).
function keyOf(line) {
  const parts = [];
  for (let rest = Buffer.from(line.split(' ')[1], 'base64'); rest.length;) {
    const end = 4 + rest.readUInt32BE();
    parts.push(rest.subarray(4, end));
    rest = rest.subarray(end);
  }
  const text = (part) => part.toString('base64url');
  const [kind, first, second] = parts;
  if (kind.equals(Buffer.from('ssh-rsa'))) {
    return { kty: 'RSA', alg: 'RS256', e: text(first), n: text(second.subarray(second[0] ? 0 : 1)) };
  }
  if (kind.equals(Buffer.from('ssh-ed25519'))) {
    return { kty: 'OKP', alg: 'EdDSA', crv: 'Ed25519', x: text(first) };
  }
  const half = (second.length - 1) / 2;
  return {
    kty: 'EC', alg: `ES${half * 8}`, crv: `P-${half * 8}`,
    x: text(second.subarray(1, 1 + half)), y: text(second.subarray(1 + half)),
  };
}

function claims(sub) {
  return { sub, name: sub, email: `${sub}@example.com`, email_verified: true, groups: PEOPLE[sub] };
}

function provider(issuer) {
  generation += 1;
  const keys = ALGORITHMS.map((alg) => ({
    ...pair(alg).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${generation}`,
  }));
  const made = new Provider(issuer, {
    jwks: { keys },
    clients: [{
      client_id: 'dbt', token_endpoint_auth_method: 'none', application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token',
        'urn:ietf:params:oauth:grant-type:device_code', EXCHANGE],
      // Any port (RFC 8252, 7.3).
      redirect_uris: ['http://127.0.0.1/callback'],
    }, {
      client_id: 'catalog', token_endpoint_auth_method: 'none', application_type: 'native',
      grant_types: ['authorization_code'], redirect_uris: ['http://127.0.0.1/-/ui/callback'],
    }, {
      client_id: 'ci', client_secret: 'a-secret-of-the-client', grant_types: ['client_credentials'],
      response_types: [], redirect_uris: [],
    }],
    scopes: SCOPES,
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
    // The groups are in the ID token, as other providers have it.
    conformIdTokenClaims: false,
    findAccount: (_ctx, accountId) => ({ accountId, claims: () => claims(accountId) }),
    rotateRefreshToken: true,
    enabledJWA: { idTokenSigningAlgValues: ALGORITHMS },
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => ({
          scope: 'publish', audience: AUDIENCE, accessTokenTTL: 600, accessTokenFormat: 'jwt',
          jwt: { sign: { alg: resource.slice(AUDIENCE.length + 1) } },
        }),
      },
    },
    extraTokenClaims: () => ({ groups: ['/robots'] }),
  });
  made.registerGrantType(EXCHANGE, exchange, [
    'subject_token', 'subject_token_type', 'audience', 'scope', 'requested_token_type', 'connector_id',
  ]);
  return made;
}

// Gives an ID token for what a trusted key has signed for this provider.
async function exchange(ctx) {
  const { params, client, provider: { IdToken, issuer } } = ctx.oidc;
  const refuse = (error, description) => {
    ctx.status = 400;
    ctx.body = { error, error_description: description };
  };
  if (params.subject_token_type !== 'urn:ietf:params:oauth:token-type:jwt') {
    return refuse('invalid_request', 'the subject token is no JWT');
  }
  let sub;
  try {
    ({ sub } = decodeJwt(params.subject_token));
    const key = trusted.get(sub);
    if (!key) throw new Error('nobody knows this key');
    await jwtVerify(params.subject_token, await importJWK(key, key.alg), {
      algorithms: [key.alg], audience: issuer, issuer: client.clientId, maxTokenAge: '5m',
      requiredClaims: ['sub', 'exp', 'iat', 'jti'],
    });
  } catch (error) {
    return refuse('invalid_grant', error.message);
  }
  const token = new IdToken(claims(sub), { ctx });
  token.scope = params.scope;
  ctx.body = {
    access_token: await token.issue({ use: 'idtoken', expiresAt: Math.floor(Date.now() / 1000) + 600 }),
    issued_token_type: 'urn:ietf:params:oauth:token-type:id_token', token_type: 'N_A',
    expires_in: 600, scope: params.scope, client_id: client.clientId,
  };
}

async function body(request) {
  let text = '';
  for await (const part of request) text += part;
  return text;
}

let answer;
const server = createServer(async (request, response) => {
  if (request.method === 'POST' && request.url === '/rotate') {
    answer = provider(issuer()).callback();
    response.end('rotated');
  } else if (request.method === 'POST' && request.url.startsWith('/trust/')) {
    trusted.set(request.url.slice('/trust/'.length), keyOf(await body(request)));
    response.end('trusted');
  } else {
    answer(request, response);
  }
});
const issuer = () => `http://127.0.0.1:${server.address().port}`;
server.listen(0, '127.0.0.1', () => {
  answer = provider(issuer()).callback();
  console.log(`listening on ${issuer()}`);
});
