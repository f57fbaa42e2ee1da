/** The API reference: both documents of the contract, with a search. */

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { inWords, request } from "../shared/api.ts";
import { Empty } from "../shared/components.tsx";
import { start } from "../shared/page.tsx";
import "./docs.css";
import { found, httpEntries, socketEntries, type AsyncApi, type Entry, type OpenApi } from "./documents.ts";
import { EntryView } from "./entry.tsx";

interface Loaded {
  openapi: OpenApi;
  asyncapi: AsyncApi;
  entries: Entry[];
}

const loaded = signal<Loaded | null>(null);
const problem = signal<string | null>(null);
const query = signal("");
const shown = signal(location.hash.slice(1));

addEventListener("hashchange", () => {
  shown.value = location.hash.slice(1);
  document.getElementById("entry")?.focus();
});

async function load(): Promise<void> {
  try {
    const [openapi, asyncapi] = await Promise.all([
      request<OpenApi>("/openapi.json"),
      request<AsyncApi>("/asyncapi.json"),
    ]);
    const entries = [...httpEntries(openapi), ...socketEntries(asyncapi)];
    loaded.value = { openapi, asyncapi, entries };
  } catch (error) {
    problem.value = inWords(error);
  }
}

function Docs() {
  useEffect(() => void load(), []);
  if (problem.value !== null) return <Empty title="The reference could not be loaded">{problem}</Empty>;
  if (loaded.value === null) return <p class="docs-loading" role="status">Loading…</p>;
  const { openapi, asyncapi, entries } = loaded.value;
  const entry = entries.find((it) => it.id === shown.value);
  return (
    <main class={entry ? "docs docs-has-entry" : "docs"}>
      <header class="docs-top">
        <h1>
          <a href="#">Mallard API {openapi.info.version}</a>
        </h1>
      </header>
      <Index entries={entries} openapi={openapi} />
      <div class="docs-main" id="entry" tabIndex={-1}>
        {entry ? (
          <EntryView
            entry={entry}
            schemas={entry.message ? asyncapi.components.schemas : openapi.components.schemas}
          />
        ) : (
          <Overview openapi={openapi} asyncapi={asyncapi} />
        )}
      </div>
    </main>
  );
}

function Index({ entries, openapi }: { entries: Entry[]; openapi: OpenApi }) {
  const matching = found(entries, query.value);
  const groups = new Map<string, Entry[]>();
  for (const entry of matching) groups.set(entry.group, [...(groups.get(entry.group) ?? []), entry]);
  const described = new Map(openapi.tags.map((it) => [it.name, it.description]));
  return (
    <nav class="docs-index" aria-label="Operations and messages">
      <input
        class="input"
        type="search"
        placeholder="Search"
        aria-label="Search operations and messages"
        value={query.value}
        onInput={(event) => (query.value = event.currentTarget.value)}
      />
      <p class="visually-hidden" role="status">
        {matching.length} found
      </p>
      {matching.length === 0 && <p class="muted">No entry matches all of these words.</p>}
      {[...groups].map(([group, those]) => (
        <section key={group}>
          <h2 title={described.get(group)}>{group}</h2>
          <ul>
            {those.map((it) => (
              <li key={it.id}>
                <a href={`#${it.id}`} aria-current={shown.value === it.id ? "page" : undefined}>
                  <span class={`docs-kind docs-kind-${it.kind.toLowerCase()}`}>{it.kind}</span>
                  <span class="breaks">{it.label}</span>
                </a>
              </li>
            ))}
          </ul>
        </section>
      ))}
    </nav>
  );
}

function Overview({ openapi, asyncapi }: { openapi: OpenApi; asyncapi: AsyncApi }) {
  return (
    <article class="docs-article">
      <h2>{openapi.info.title}</h2>
      <p class="docs-prose">{openapi.info.description}</p>
      <h2>{asyncapi.info.title}</h2>
      <p class="docs-prose">{asyncapi.info.description}</p>
      <h2>As files</h2>
      <p>
        <a href="/openapi.json">openapi.json</a> for HTTP, <a href="/asyncapi.json">asyncapi.json</a>{" "}
        for the driver's socket.
      </p>
    </article>
  );
}

start(<Docs />);
