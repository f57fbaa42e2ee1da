// The agent as a page: lines over a WebSocket to the test, the driver's storage in localStorage.

import { WebStorage } from "../dist/index.js";
import { serve } from "./agent.mjs";

const control = new WebSocket(`ws://${location.host}/${location.search.slice(1)}`);
const unread = [];
let wake = () => undefined;
control.onmessage = ({ data }) => {
  unread.push(data);
  wake();
};
async function* received() {
  while (true) {
    if (unread.length) yield unread.shift();
    else await new Promise((resolve) => (wake = resolve));
  }
}
await new Promise((resolve) => (control.onopen = resolve));
const say = (line) => control.send(JSON.stringify(line));
await serve(received(), say, { storage: (file) => new WebStorage(file) });
