/** What the client adds to a page. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const MOST_BYTES = 25_000;

/** The size of a program that uses these exports, minified and compressed. */
async function size(exports: string): Promise<number> {
  const index = fileURLToPath(new URL("../src/index.js", import.meta.url));
  const made = await build({
    stdin: { contents: `export ${exports} from ${JSON.stringify(index)}`, resolveDir: "." },
    bundle: true,
    minify: true,
    format: "esm",
    write: false,
  });
  return gzipSync(made.outputFiles[0]?.contents ?? "", { level: 9 }).length;
}

test("all of it is under 25 KB", async (t) => {
  const bytes = await size("*");
  t.diagnostic(`${bytes} bytes`);
  assert.ok(bytes < MOST_BYTES, `${bytes} bytes`);
});

test("a driver app alone takes less, as unused clients are left out", async (t) => {
  const bytes = await size("{ DriverClient }");
  t.diagnostic(`${bytes} bytes`);
  assert.ok(bytes < (await size("*")) - 2_000, `${bytes} bytes`);
});
