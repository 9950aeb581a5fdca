// An identity provider on any free port of this machine. Its only client signs in with its secret
// and gets access tokens (RFC 9068) for https://dbt.example.com, signed as the last segment of the
// resource says: https://dbt.example.com/ES256. POST /rotate gives it new keys, and no old ones.
//
//   node idp.mjs DIRECTORY-OF-PACKAGES
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const library = join(process.argv[2], 'node_modules/oidc-provider/lib/index.js');
const { default: Provider } = await import(pathToFileURL(library));

const AUDIENCE = 'https://dbt.example.com';
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];

function pair(algorithm) {
  if (algorithm === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' });
  if (algorithm === 'EdDSA') return generateKeyPairSync('ed25519');
  return generateKeyPairSync('rsa', { modulusLength: 2048 });
}

let generation = 0;

function provider(issuer) {
  generation += 1;
  const keys = ALGORITHMS.map((alg) => ({
    ...pair(alg).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${generation}`,
  }));
  return new Provider(issuer, {
    jwks: { keys },
    clients: [{
      client_id: 'ci', client_secret: 'a-secret-of-the-client', grant_types: ['client_credentials'],
      response_types: [], redirect_uris: [],
    }],
    enabledJWA: { idTokenSigningAlgValues: ALGORITHMS },
    features: {
      devInteractions: { enabled: false },
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
}

let answer;
const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/rotate') {
    answer = provider(issuer()).callback();
    response.end('rotated');
    return;
  }
  answer(request, response);
});
const issuer = () => `http://127.0.0.1:${server.address().port}`;
server.listen(0, '127.0.0.1', () => {
  answer = provider(issuer()).callback();
  console.log(`listening on ${issuer()}`);
});
