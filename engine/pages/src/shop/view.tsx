/** What the counter shows: the code field, pickups by who is here and who comes, returns. */

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { Badge, Button, Empty, LineBanner, type Tone } from "../shared/components.tsx";
import { now } from "../shared/now.ts";
import { signOut, type Session } from "../shared/session.ts";
import { clock, count, named, placeName, until } from "../shared/words.ts";
import type { Counter } from "./counter.ts";
import { ChooseDialog, HandOverDialog, LaterDialog, MissingDialog, ShortDialog } from "./dialogs.tsx";
import { entryOf, grouped, isOpen, meaningOf, nameOf, type Group } from "./groups.ts";
import { useScans } from "./scans.ts";
import type { Pickup, Return } from "./types.ts";

const HOUR_MS = 3_600_000;

type Asking =
  | { what: "handover" | "short" | "missing" | "later"; pickup: Pickup }
  | { what: "choose"; code: string; candidates: Pickup[] }
  | null;

const asking = signal<Asking>(null);

const GROUPS: readonly [Group, string][] = [
  ["here", "Here now"],
  ["coming", "On the way"],
  ["waiting", "No driver yet"],
  ["done", "Collected today"],
];

const TONES: Record<string, Tone> = {
  ready: "ok",
  collected: "ok",
  short: "warn",
  missing: "danger",
  closed: "warn",
};

export function CounterView({ counter, session }: { counter: Counter; session: Session }) {
  // A question about an order is for those who were signed in, not for those who are next.
  useEffect(() => () => void (asking.value = null), []);
  const waiting = counter.queue.waiting.value.length;
  return (
    <>
      <LineBanner>{waiting > 0 && <span>{count(waiting, "report")} will be sent when the connection is back.</span>}</LineBanner>
      <Header counter={counter} session={session} />
      <main class="shop">
        <CodeField counter={counter} />
        {counter.problem.value && (
          <p class="shop-problem" role="alert">
            {counter.problem.value}
          </p>
        )}
        <div class="shop-columns">
          <Pickups counter={counter} />
          <Returns counter={counter} />
        </div>
      </main>
      <Asked counter={counter} />
    </>
  );
}

function Header({ counter, session }: { counter: Counter; session: Session }) {
  const closedMs = counter.closedUntilMs.value;
  const isClosed = closedMs !== null && closedMs > now.value;
  return (
    <header class="shop-header">
      <div class="shop-name">
        <h1 class="breaks">{placeName(session.store ?? "")}</h1>
        <span class="muted breaks">{placeName(session.mall ?? "")}</span>
      </div>
      {isClosed && <Badge tone="warn">{Number.isFinite(closedMs) ? `Closed until ${clock(closedMs, now.value)}` : "Closed"}</Badge>}
      <div class="shop-header-actions">
        {isClosed ? (
          <Button kind="primary" onClick={() => counter.close(null)}>
            Open again
          </Button>
        ) : (
          <Button onClick={() => counter.close(Date.now() + HOUR_MS)}>Close for an hour</Button>
        )}
        <Button kind="quiet" onClick={() => signOut()}>
          Sign out
        </Button>
      </div>
    </header>
  );
}

/** Opens the dialog for a code or an order's number; returns false if neither is known. */
function openDialogFor(text: string, counter: Counter): boolean {
  const meaning = meaningOf(text, counter.pickups.value ?? []);
  if (meaning.kind === "code" && meaning.candidates.length === 0) return false;
  asking.value =
    meaning.kind === "order"
      ? { what: "handover", pickup: meaning.pickup }
      : { what: "choose", code: meaning.code, candidates: meaning.candidates };
  return true;
}

/**
 * Takes what is typed or scanned anywhere on the page: a barcode wedge types like a keyboard and
 * ends with Enter.
 */
function CodeField({ counter }: { counter: Counter }) {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const field = useRef<HTMLInputElement>(null);

  useEffect(() => {
    function catchTyping(event: KeyboardEvent): void {
      const isText = event.key.length === 1 && !event.ctrlKey && !event.altKey && !event.metaKey;
      const at = event.target instanceof HTMLElement ? event.target : document.body;
      // A space presses the button that has the focus.
      const isElsewhere = at.closest("input, select, textarea, dialog") !== null || event.key === " ";
      if (isText && !isElsewhere) field.current?.focus();
    }
    addEventListener("keydown", catchTyping);
    return () => removeEventListener("keydown", catchTyping);
  }, []);

  function submit(event: Event): void {
    event.preventDefault();
    const typed = text.trim();
    if (typed === "") return;
    setText("");
    const isKnown = openDialogFor(typed, counter);
    setProblem(isKnown ? null : "No order has this number, and no driver is here or on the way.");
  }

  return (
    <form class="shop-code" onSubmit={submit}>
      <label for="code">Scan or type the driver's code, or an order's number</label>
      <div>
        <input
          ref={field}
          id="code"
          class="input"
          autocomplete="off"
          autocapitalize="characters"
          spellcheck={false}
          maxLength={64}
          value={text}
          aria-describedby="code-problem"
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <Button type="submit" kind="primary" size="large">
          Enter
        </Button>
      </div>
      <p id="code-problem" role="status" class="shop-code-problem">
        {problem}
      </p>
    </form>
  );
}

function Pickups({ counter }: { counter: Counter }) {
  const pickups = counter.pickups.value;
  if (pickups === null) {
    return (
      <section aria-label="Pickups">
        <p role="status" class="muted">
          Loading…
        </p>
      </section>
    );
  }
  const groups = grouped(pickups);
  return (
    <section aria-label="Pickups" class="shop-groups">
      {pickups.length === 0 && (
        <Empty title="Nothing to hand over">New orders for this shop appear here automatically.</Empty>
      )}
      {GROUPS.filter(([group]) => groups[group].length > 0).map(([group, title]) => (
        <section key={group} class={`shop-group shop-group-${group}`}>
          <h2>
            {title} <span class="muted">{groups[group].length}</span>
          </h2>
          <ul>
            {groups[group].map((it) => (
              <PickupCard key={it.id} pickup={it} group={group} counter={counter} />
            ))}
          </ul>
        </section>
      ))}
    </section>
  );
}

function PickupCard({ pickup, group, counter }: { pickup: Pickup; group: Group; counter: Counter }) {
  const entry = entryOf(pickup);
  const unsent = counter.unsent.value.get(pickup.id);
  const ask = (what: "handover" | "short" | "missing" | "later") => (asking.value = { what, pickup });
  const collected = entry.collected_parcels ?? 0;
  return (
    <li class="card shop-card">
      <div class="shop-card-head">
        <h3 class="breaks">{nameOf(pickup)}</h3>
        <Badge tone={TONES[entry.state] ?? "neutral"}>{named(entry.state)}</Badge>
        {unsent && <Badge tone="warn">Not sent yet</Badge>}
      </div>
      <dl class="shop-facts">
        <div>
          <dt>Parcels</dt>
          <dd>
            {entry.state === "collected" && collected !== entry.parcels
              ? `${collected} of ${entry.parcels}`
              : entry.parcels}
          </dd>
        </div>
        {group !== "done" && <Coming pickup={pickup} group={group} />}
        {entry.pickup_code && (
          <div>
            <dt>Pickup code</dt>
            <dd class="mono breaks">{entry.pickup_code}</dd>
          </div>
        )}
        {pickup.driver && (
          <div>
            <dt>Driver</dt>
            <dd class="breaks">
              {pickup.driver.alias}
              {pickup.driver.vehicle && `, ${pickup.driver.vehicle}`}
            </dd>
          </div>
        )}
      </dl>
      {isOpen(pickup) && (
        <div class="shop-actions">
          {group === "here" || group === "coming" ? (
            <Button kind={group === "here" ? "primary" : "plain"} size="large" onClick={() => ask("handover")}>
              Hand over
            </Button>
          ) : null}
          {entry.state !== "ready" && (
            <Button
              kind={group === "waiting" ? "primary" : "plain"}
              size="large"
              onClick={() => counter.say(pickup, "ready")}
            >
              Ready
            </Button>
          )}
          <Button size="large" onClick={() => ask("later")}>
            Ready later…
          </Button>
          {entry.parcels > 1 && (
            <Button size="large" onClick={() => ask("short")}>
              Short…
            </Button>
          )}
          <Button size="large" onClick={() => ask("missing")}>
            Missing…
          </Button>
        </div>
      )}
    </li>
  );
}

function Coming({ pickup, group }: { pickup: Pickup; group: Group }) {
  if (group === "here") {
    return (
      <div>
        <dt>Arrives</dt>
        <dd>Here now</dd>
      </div>
    );
  }
  if (pickup.eta.pickup === null) return null;
  const atMs = Date.parse(pickup.eta.pickup);
  return (
    <div>
      <dt>Arrives</dt>
      <dd>
        {until(atMs, now.value)}, {clock(atMs, now.value)}
      </dd>
    </div>
  );
}

function Returns({ counter }: { counter: Counter }) {
  const returns = counter.returns.value ?? [];
  return (
    <section class="shop-returns">
      <h2>
        Coming back <span class="muted">{returns.length}</span>
      </h2>
      {returns.length === 0 && <p class="muted">No parcels are on their way back.</p>}
      <ul>
        {returns.map((it) => (
          <ReturnCard key={it.id} it={it} counter={counter} />
        ))}
      </ul>
    </section>
  );
}

function ReturnCard({ it, counter }: { it: Return; counter: Counter }) {
  const isUnsent = counter.unsent.value.has(it.id);
  return (
    <li class="card shop-card">
      <div class="shop-card-head">
        <h3 class="breaks">{nameOf(it)}</h3>
        {isUnsent && <Badge tone="warn">Not sent yet</Badge>}
      </div>
      <p class="breaks">
        {count(it.parcels, "parcel")}
        {it.driver && `, brought by ${it.driver.alias}`}
      </p>
      {it.code && (
        <p>
          Code for the driver <strong class="shop-return-code mono">{it.code}</strong>
        </p>
      )}
      <Button kind="primary" size="large" busy={isUnsent} onClick={() => counter.receive(it)}>
        Received
      </Button>
    </li>
  );
}

function Asked({ counter }: { counter: Counter }) {
  const asked = asking.value;
  // A scan must not press a button of a dialog. Only the dialog that asks for an order handles scans.
  useScans(() => undefined);
  if (asked === null) return null;
  const close = () => (asking.value = null);
  if (asked.what === "choose") {
    return <ChooseDialog {...asked} counter={counter} onCode={(code) => openDialogFor(code, counter)} onClose={close} />;
  }
  const views = {
    handover: HandOverDialog,
    short: ShortDialog,
    missing: MissingDialog,
    later: LaterDialog,
  };
  const View = views[asked.what];
  return <View pickup={asked.pickup} counter={counter} onClose={close} />;
}
