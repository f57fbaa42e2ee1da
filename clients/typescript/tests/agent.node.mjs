// The agent as a Node process: lines on stdin and stdout, the driver's storage in a file.

import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { serve } from "./agent.mjs";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const storage = (file) => ({
  load() {
    try {
      return readFileSync(file, "utf8");
    } catch {
      return null;
    }
  },
  save: (document) => writeFileSync(file, document),
});
await serve(lines, say, { storage, webSocket: WebSocket });
