// A person at a browser: headless Chromium, told what to do over a pipe, so that it needs no port.
//
//   node browser.mjs CHROMIUM DIRECTORY PAGE NAME PASSWORD [elsewhere]
//
// Opens the page and answers its forms and those that follow: the name and the password where they
// are asked for, and yes to the rest. Prints what is in the address line at the end and what the
// page says, as JSON. With `elsewhere`, pages of /callback cannot be reached, as where the program
// that waits for them runs on another machine.
import { spawn } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';

const [chromium, directory, page, name, password, place] = process.argv.slice(2);
const PATIENCE = 30_000;
const PAUSE = 10;

const browser = spawn(chromium, [
  '--headless', '--remote-debugging-pipe', `--user-data-dir=${directory}`, '--no-first-run',
  '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-breakpad', '--no-zygote', '--no-proxy-server',
  // It runs as root in places, and visits nobody but this machine.
  '--no-sandbox',
  // Nothing but this machine is there.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  // A group of its own: Debian's is a script around the program.
], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true });
setTimeout(PATIENCE).then(() => fail('nobody was done in time'));
browser.on('error', (error) => fail(error.message));
browser.on('exit', () => fail('the browser has ended'));
process.on('SIGTERM', () => fail('told to end'));

function fail(words) {
  console.error(words);
  browser.removeAllListeners('exit');
  if (browser.pid) process.kill(-browser.pid, 'SIGKILL');
  process.exit(1);
}

// Asked to, it ends with all of its processes.
function end() {
  browser.removeAllListeners('exit');
  browser.on('exit', () => process.exit(0));
  session = undefined;
  ask('Browser.close');
}

// The protocol: JSON and a zero byte, both ways.
let number = 0;
let session;
const answers = new Map();
let rest = '';
browser.stdio[4].setEncoding('utf8').on('data', (text) => {
  const messages = (rest + text).split('\0');
  rest = messages.pop();
  for (const message of messages.map((it) => JSON.parse(it))) {
    if (message.id) {
      const { resolve, reject } = answers.get(message.id);
      answers.delete(message.id);
      if (message.error) reject(new Error(message.error.message)); else resolve(message.result);
    } else if (message.method === 'Fetch.requestPaused') {
      ask('Fetch.failRequest', { requestId: message.params.requestId, errorReason: 'ConnectionRefused' });
    }
  }
});

function ask(method, params = {}) {
  number += 1;
  browser.stdio[3].write(`${JSON.stringify({ id: number, method, params, sessionId: session })}\0`);
  return new Promise((resolve, reject) => answers.set(number, { resolve, reject }));
}

// Looks at the page, fills in its form if there is one, and says what is to be done next. A page that
// was answered stays until the next one is there.
const LOOK = `(() => {
  // A file of this machine leads on by itself.
  const leads = location.href === 'about:blank' || location.protocol === 'file:';
  if (document.readyState !== 'complete' || leads || window.answered) return 'wait';
  const form = document.forms[0];
  if (!form) return 'done';
  window.answered = true;
  const set = (field, value) => { if (form.elements[field]) form.elements[field].value = value; };
  set('login', ${JSON.stringify(name)});
  set('password', ${JSON.stringify(password)});
  const button = form.querySelector('[type=submit]');
  if (button) button.click(); else form.submit();
  return 'wait';
})()`;

async function evaluate(expression) {
  const { result } = await ask('Runtime.evaluate', { expression, returnByValue: true });
  return result.value;
}

async function main() {
  const { targetId } = await ask('Target.createTarget', { url: 'about:blank' });
  ({ sessionId: session } = await ask('Target.attachToTarget', { targetId, flatten: true }));
  await ask('Page.enable');
  if (place === 'elsewhere') {
    await ask('Fetch.enable', { patterns: [{ urlPattern: '*/callback*' }] });
  }
  await ask('Page.navigate', { url: page });
  // A page that goes away meanwhile has no answer.
  while (await evaluate(LOOK).catch(() => 'wait') !== 'done') await setTimeout(PAUSE);
  const { currentIndex, entries } = await ask('Page.getNavigationHistory');
  const text = await evaluate('document.body.innerText');
  console.log(JSON.stringify({ address: entries[currentIndex].url, text }));
}

main().then(end, (error) => fail(error.message));
