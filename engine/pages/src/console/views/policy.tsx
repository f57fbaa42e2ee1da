/** The policy of a market: what is in force, what operators have set, and pauses. */

import { Fragment, type JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, inWords } from "../../shared/api.ts";
import { Badge, Button, Card, Empty, Field } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { call } from "../../shared/session.ts";
import { ago, named } from "../../shared/words.ts";
import { readPage } from "../api.ts";
import { useConsole, useLoaded } from "../context.ts";
import type { Page, Policy } from "../core/types.ts";
import { Select } from "./jobs.tsx";

interface AuditEntry {
  id: string;
  actor: string;
  at: string;
  operation: string;
  path: string;
  status?: number;
}

const CHANGE = /\/(policy|pause|resume)$/;
// Of the audit log, which has every call of every operator: at most so many parts in a row.
const MOST_PARTS = 5;
const SHOWN = 10;

export function PolicyView(): JSX.Element {
  const { market, say, run } = useConsole();
  const path = `/v1/markets/${encodeURIComponent(market.id)}/policy`;
  const { value, fault, again } = useLoaded(market.id, () => call<Policy>(path));
  const [text, setText] = useState("");
  const [isEditing, setEditing] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  if (fault !== null && !value) return <Empty title="The policy cannot be shown">{fault}</Empty>;
  if (!value) return <p class="loading">Loading…</p>;

  const put = async (preset: string | null, set: Record<string, unknown>): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      await call(path, {
        method: "PUT",
        body: { ...(preset ? { preset } : {}), set },
        headers: { "if-match": `"${value.version}"` },
      });
      setEditing(null);
      say("The policy has been changed");
    } catch (problem) {
      const isStale = problem instanceof ApiError && problem.status === 412;
      setError(isStale ? "Another operator has changed the policy in the meantime. Check it again." : inWords(problem));
    } finally {
      setBusy(false);
      again();
    }
  };
  const save = (name: string): void => {
    let parsed: unknown = text;
    try {
      parsed = JSON.parse(text);
    } catch {
      // Not JSON: a word, such as the name of a mode.
    }
    void put(value.preset, { ...value.set, [name]: parsed });
  };
  const clear = (name: string): void => {
    const { [name]: _, ...rest } = value.set;
    void put(value.preset, rest);
  };

  return (
    <section class="page" aria-labelledby="policy-title">
      <header class="page-head">
        <div>
          <h1 id="policy-title">Policy</h1>
          <p class="muted">
            {value.version === 0 ? (
              "As configured; no operator has changed it."
            ) : (
              <>
                Version {value.version}, by <span class="breaks">{value.changed_by ?? "somebody"}</span>
                {value.changed_at ? ` ${ago(Date.parse(value.changed_at), now.value)}` : null}
              </>
            )}
          </p>
        </div>
        <div class="badges">
          <Select
            label="Preset"
            none="As configured"
            value={value.preset ?? ""}
            onChange={(preset) => void put(preset || null, value.set)}
            options={[["express", "Express"], ["pooled", "Pooled"], ["same_day", "Same day"]]}
          />
          <Button
            size="small"
            kind={market.paused ? "primary" : "plain"}
            onClick={() =>
              market.paused
                ? run({ kind: "unpause", market: market.id })
                : run({ kind: "pause", market: market.id, reason: "operator" }, `Pause matching in ${market.name}? Orders are still taken; nothing new is offered.`)
            }
          >
            {market.paused ? "Resume matching" : "Pause matching"}
          </Button>
        </div>
      </header>
      {error ? <p class="form-error" role="alert">{error}</p> : null}
      <div class="columns">
        <div class="column">
          <Card>
            <h2>Figures</h2>
            <table class="table policy">
              <caption class="visually-hidden">All figures of the market</caption>
              <thead>
                <tr>
                  <th scope="col">Figure</th>
                  <th scope="col">In force</th>
                  <th scope="col">
                    <span class="visually-hidden">Change</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {Object.entries(value.effective).map(([name, figure]) => (
                  <tr key={name}>
                    <td class="mono breaks">{breakable(name)}</td>
                    <td>
                      {isEditing === name ? (
                        <form
                          class="inline-form"
                          onSubmit={(event) => {
                            event.preventDefault();
                            save(name);
                          }}
                        >
                          <Field label={`New value of ${name}`} value={text} onInput={(event) => setText(event.currentTarget.value)} autofocus />
                          <Button type="submit" size="small" kind="primary" busy={isBusy}>Save</Button>
                          <Button size="small" onClick={() => setEditing(null)}>Cancel</Button>
                        </form>
                      ) : (
                        <>
                          <span class="mono breaks">{show(figure)}</span> {name in value.set ? <Badge tone="info">set</Badge> : null}
                        </>
                      )}
                    </td>
                    <td class="end">
                      {isEditing === name ? null : (
                        <>
                          <Button
                            size="small"
                            kind="quiet"
                            aria-label={`Change ${name}`}
                            onClick={() => {
                              setText(show(figure));
                              setEditing(name);
                            }}
                          >
                            Change
                          </Button>
                          {name in value.set ? (
                            <Button size="small" kind="quiet" aria-label={`Reset ${name}`} onClick={() => clear(name)}>
                              Reset
                            </Button>
                          ) : null}
                        </>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Card>
        </div>
        <div class="column column-side">
          <Pauses />
          <Changes stamp={value.version} />
        </div>
      </div>
    </section>
  );
}

/** A name that may break after an underscore, and not within a word. */
function breakable(name: string): JSX.Element[] {
  return name.split(/(?<=_)/).map((part, index) => (
    <Fragment key={index}>
      {index > 0 ? <wbr /> : null}
      {part}
    </Fragment>
  ));
}

function show(figure: unknown): string {
  return typeof figure === "string" ? figure : JSON.stringify(figure);
}

function Pauses(): JSX.Element {
  const { market, run } = useConsole();
  return (
    <Card>
      <h2>Malls</h2>
      <ul class="malls">
        {market.malls.map((mall) => (
          <li key={mall.id}>
            <span>
              {mall.name} {mall.paused ? <Badge tone="warn">Paused</Badge> : null}
            </span>
            <Button
              size="small"
              aria-label={`${mall.paused ? "Resume" : "Pause"} ${mall.name}`}
              onClick={() =>
                mall.paused
                  ? run({ kind: "unpause", market: market.id, mall: mall.id })
                  : run({ kind: "pause", market: market.id, mall: mall.id, reason: "operator" }, `Pause matching at ${mall.name}?`)
              }
            >
              {mall.paused ? "Resume" : "Pause"}
            </Button>
          </li>
        ))}
      </ul>
    </Card>
  );
}

/** Who changed the policy, as the audit log has it: newest first, a part at a time. */
function Changes({ stamp }: { stamp: number }): JSX.Element {
  const { market } = useConsole();
  const [found, setFound] = useState<AuditEntry[]>([]);
  const [older, setOlder] = useState<string | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [isReading, setReading] = useState(true);
  const reading = useRef(new AbortController());

  /** Reads on until there is something to show, and not the whole log for it. */
  const read = async (cursor: string | null, signal: AbortSignal): Promise<void> => {
    setReading(true);
    try {
      const part = await readChanges(market.id, cursor, signal);
      setFound((before) => (cursor === null ? part.items : [...before, ...part.items]));
      setOlder(part.next_cursor);
      setFault(null);
    } catch (error) {
      if (signal.aborted) return;
      setFault(inWords(error));
    }
    setReading(false);
  };
  useEffect(() => {
    const mine = new AbortController();
    reading.current = mine;
    void read(null, mine.signal);
    return () => mine.abort();
  }, [market.id, stamp]);

  return (
    <Card>
      <h2>Changes</h2>
      {fault ? <p class="muted">{fault}</p> : null}
      {found.length > 0 ? (
        <ol class="changes">
          {found.map((it) => (
            <li key={it.id}>
              {inEnglish(it.operation)} <span class="muted">by <span class="breaks">{it.actor}</span>, {ago(Date.parse(it.at), now.value)}</span>
            </li>
          ))}
        </ol>
      ) : (
        <p class="muted">{isReading ? "Loading…" : older ? "None recently." : "None in the last 90 days."}</p>
      )}
      {older ? (
        <Button size="small" busy={isReading} onClick={() => void read(older, reading.current.signal)}>
          Older changes
        </Button>
      ) : null}
    </Card>
  );
}

/** The changes after a place of the log; stops early once there are enough to show. */
async function readChanges(market: string, cursor: string | null, signal: AbortSignal): Promise<Page<AuditEntry>> {
  const items: AuditEntry[] = [];
  let next = cursor;
  for (let part = 0; part < MOST_PARTS && items.length < SHOWN; part += 1) {
    const page: Page<AuditEntry> = await readPage("/v1/audit", { market }, next, signal);
    items.push(...page.items.filter((it) => CHANGE.test(it.path) && it.status === 200));
    next = page.next_cursor;
    if (next === null) break;
  }
  return { items, next_cursor: next };
}

/** `pauseMall` → `Pause mall`. */
function inEnglish(operation: string): string {
  return named(operation.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}
