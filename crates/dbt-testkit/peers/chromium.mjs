// Headless Chromium, told what to do over a pipe, so that it needs no port.
import { spawn } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';

export const PATIENCE = 30_000;
export const PAUSE = 10;

let browser;

// Starts it, with what it keeps in a directory. `at` says what is being done, for whoever waits in vain.
export function start(chromium, directory, at = () => '') {
  browser = spawn(chromium, [
    '--headless', '--remote-debugging-pipe', `--user-data-dir=${directory}`, '--no-first-run',
    '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-breakpad', '--no-zygote', '--no-proxy-server',
    // It runs as root in places, and visits nobody but this machine.
    '--no-sandbox',
    // Nothing but this machine is there.
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    // A group of its own: Debian's is a script around the program.
  ], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true });
  setTimeout(PATIENCE).then(() => fail(`nobody was done in time ${at()}`));
  browser.on('error', (error) => fail(error.message));
  browser.on('exit', () => fail('the browser has ended'));
  process.on('SIGTERM', () => fail('told to end'));
  browser.stdio[4].setEncoding('utf8').on('data', hear);
}

export function fail(words) {
  console.error(words);
  browser.removeAllListeners('exit');
  if (browser.pid) process.kill(-browser.pid, 'SIGKILL');
  process.exit(1);
}

// Asked to, it ends with all of its processes.
export function end() {
  browser.removeAllListeners('exit');
  browser.on('exit', () => process.exit(0));
  session = undefined;
  ask('Browser.close');
}

// The protocol: JSON and a zero byte, both ways.
let number = 0;
let session;
const answers = new Map();
const listeners = new Map();
let rest = '';

function hear(text) {
  const messages = (rest + text).split('\0');
  rest = messages.pop();
  for (const message of messages.map((it) => JSON.parse(it))) {
    if (message.id) {
      const { resolve, reject } = answers.get(message.id);
      answers.delete(message.id);
      if (message.error) reject(new Error(message.error.message)); else resolve(message.result);
    } else {
      listeners.get(message.method)?.(message.params);
    }
  }
}

export function ask(method, params = {}) {
  number += 1;
  browser.stdio[3].write(`${JSON.stringify({ id: number, method, params, sessionId: session })}\0`);
  return new Promise((resolve, reject) => answers.set(number, { resolve, reject }));
}

// Has what the browser tells by itself heard.
export function on(event, listener) {
  listeners.set(event, listener);
}

// Opens an empty page, of which the rest is asked.
export async function open() {
  const { targetId } = await ask('Target.createTarget', { url: 'about:blank' });
  ({ sessionId: session } = await ask('Target.attachToTarget', { targetId, flatten: true }));
  await ask('Page.enable');
}

export async function evaluate(expression) {
  const { result, exceptionDetails } =
    await ask('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
}
