/**
 * Writes a digest of all sources beside what is built from them.
 *
 * `tests/test_pages.py` computes the same digest, so `make test` notices, without Node, that
 * somebody has changed a source and not built the pages.
 */

import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

const ROOT = join(import.meta.dirname, "..");
const OTHERS = new Set(["node_modules", "README.md"]);

export function sources(): Plugin {
  return {
    name: "sources",
    apply: "build",
    generateBundle() {
      this.emitFile({ type: "asset", fileName: "SOURCES.sha256", source: `${digest()}\n` });
    },
  };
}

function digest(): string {
  const hash = createHash("sha256");
  for (const path of filesIn("")) hash.update(`${path}\0`).update(readFileSync(join(ROOT, path))).update("\0");
  return hash.digest("hex");
}

/** The paths of all files below a folder, in the order of their code points. */
function filesIn(folder: string): string[] {
  const entries = readdirSync(join(ROOT, folder), { withFileTypes: true });
  const found = entries
    .filter((it) => !OTHERS.has(it.name))
    .flatMap((it) => {
      const path = folder ? `${folder}/${it.name}` : it.name;
      return it.isDirectory() ? filesIn(path) : [path];
    });
  return found.sort((a, b) => (a < b ? -1 : 1));
}
