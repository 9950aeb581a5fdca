// A person at a browser who signs in.
//
//   node browser.mjs CHROMIUM DIRECTORY PAGE NAME PASSWORD [elsewhere]
//
// Opens the page and answers its forms and those that follow: the name and the password where they
// are asked for, and yes to the rest. Prints what is in the address line at the end and what the
// page says, as JSON. With `elsewhere`, pages of /callback cannot be reached, as where the program
// that waits for them runs on another machine.
import { setTimeout } from 'node:timers/promises';
import { PAUSE, ask, end, evaluate, fail, on, open, start } from './chromium.mjs';

const [chromium, directory, page, name, password, place] = process.argv.slice(2);
start(chromium, directory);

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

async function main() {
  await open();
  if (place === 'elsewhere') {
    on('Fetch.requestPaused', ({ requestId }) => ask('Fetch.failRequest', { requestId, errorReason: 'ConnectionRefused' }));
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
