import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { licences } from "./tools/licences.ts";
import { sources } from "./tools/sources.ts";

// One HTML file a page; Vite finds its script and styles from there.
const PAGES = ["console", "docs", "driver", "shop", "track"];

// The engine that `npm run dev` passes requests on to.
const ENGINE = process.env.MALLARD_URL ?? "http://127.0.0.1:8000";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  base: "/",
  resolve: {
    // The SDK is built in from its sources, and with the codec of this lock, not of its own.
    alias: {
      "@mallard/client": here("../../clients/typescript/src/index.ts"),
      "@msgpack/msgpack": here("node_modules/@msgpack/msgpack"),
    },
  },
  plugins: [licences(), sources()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../mallard_engine/pages",
    emptyOutDir: true,
    assetsDir: "assets",
    // What is built is committed: the same sources must give the same bytes on every machine.
    sourcemap: false,
    target: "es2022",
    // The content security policy allows no inline script and no data: URL in a style.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: true,
    rollupOptions: {
      input: PAGES.map((page) => `${page}.html`),
      output: {
        entryFileNames: "assets/[name]-[hash].js",
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
  server: {
    proxy: Object.fromEntries(
      ["/v1", "/openapi.json", "/asyncapi.json"].map((path) => [path, { target: ENGINE, ws: true }]),
    ),
  },
  worker: { format: "es" },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"] },
});
