// A person at a browser who looks at pages and does what they are told.
//
//   node visit.mjs CHROMIUM DIRECTORY AXE STEPS
//
// STEPS is a list, as JSON: each step is an object with one member, which says what is done. Prints what each
// that looks at something has seen, as a list.
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { PAUSE, ask, end, evaluate, fail, on, open, start } from './chromium.mjs';

const [chromium, directory, axe, steps] = process.argv.slice(2);
let current;
start(chromium, directory, () => `with ${JSON.stringify(current)}, having seen ${JSON.stringify(seen)}`);
const seen = [];
// What the browser has to say against a page: errors of its script, and what its policy forbids.
const complaints = [];

async function until(expression) {
  // A page that goes away meanwhile has no answer.
  while (!await evaluate(expression).catch(() => false)) await setTimeout(PAUSE);
}

// A page on which something was clicked is not yet the one that it leads to.
const arrived = (path) => `!window.clicked && document.readyState === 'complete' && location.href.includes(${JSON.stringify(path)})`;

const doing = {
  // Opens an address.
  go: async (address) => {
    await ask('Page.navigate', { url: address });
    await until("document.readyState === 'complete' && location.href !== 'about:blank'");
  },
  // Waits for a page whose address has this in it.
  arrive: (path) => until(arrived(path)),
  // Types into a field, letter by letter.
  type: async ([selector, text]) => {
    await evaluate(`document.querySelector(${JSON.stringify(selector)}).focus()`);
    for (const letter of text) await ask('Input.insertText', { text: letter });
  },
  press: async (key) => {
    const code = { Enter: 13, Tab: 9 }[key];
    const text = key === 'Enter' ? '\r' : '';
    await ask('Input.dispatchKeyEvent', { type: 'keyDown', key, text, windowsVirtualKeyCode: code });
    await ask('Input.dispatchKeyEvent', { type: 'keyUp', key, windowsVirtualKeyCode: code });
  },
  click: (selector) => evaluate(`(() => {
    const clicked = document.querySelector(${JSON.stringify(selector)});
    window.clicked = true;
    clicked.click();
  })()`),
  // Answers the forms of an identity provider until a page comes that has this in its address.
  signIn: async ([name, password, path]) => {
    // In one go: the page that is waited for may have a form of its own.
    const answer = `(() => {
      if (${arrived(path)}) return true;
      if (document.readyState !== 'complete' || window.answered) return;
      const form = document.forms[0];
      if (!form) return;
      window.answered = true;
      const set = (field, value) => { if (form.elements[field]) form.elements[field].value = value; };
      set('login', ${JSON.stringify(name)});
      set('password', ${JSON.stringify(password)});
      const button = form.querySelector('[type=submit]');
      if (button) button.click(); else form.submit();
    })()`;
    await until(answer);
  },
  // Looks at something.
  see: async (expression) => seen.push(await evaluate(expression) ?? null),
  // How wide the screen is, in the browser's pixels.
  width: (width) => ask('Emulation.setDeviceMetricsOverride', { width, height: 900, deviceScaleFactor: 1, mobile: width < 600 }),
  scheme: (value) => ask('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] }),
  script: (runs) => ask('Emulation.setScriptExecutionDisabled', { value: !runs }),
  // Keeps a picture of the whole page.
  picture: async (file) => {
    const { data } = await ask('Page.captureScreenshot', { captureBeyondViewport: true });
    writeFileSync(file, Buffer.from(data, 'base64'));
  },
  // Looks for what people with a screen reader or a keyboard, or with weak eyes, would stumble over.
  axe: async () => {
    await evaluate(`${readFileSync(axe, 'utf8')}; undefined`);
    const { violations, passes } = await evaluate('axe.run()');
    const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
    seen.push({ violations: told, passes: passes.length });
  },
  // What the browser has said against the pages since this was last asked.
  complaints: () => seen.push(complaints.splice(0)),
};

async function main() {
  await open();
  on('Log.entryAdded', ({ entry }) => complaints.push(`${entry.level}: ${entry.text}`));
  on('Runtime.exceptionThrown', ({ exceptionDetails }) => complaints.push(exceptionDetails.text));
  await ask('Log.enable');
  await ask('Runtime.enable');
  for (const step of JSON.parse(steps)) {
    current = step;
    const [[what, how]] = Object.entries(step);
    await doing[what](how);
  }
  process.stdout.write(JSON.stringify(seen));
}

main().then(end, (error) => fail(error.stack));
