/** The console's frame: the market, the places, the keys, and the questions before commands. */

import { lazy, Suspense } from "preact/compat";
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { inWords } from "../shared/api.ts";
import { Button, Empty, LineBanner, toast } from "../shared/components.tsx";
import { call, signOut } from "../shared/session.ts";
import { named } from "../shared/words.ts";
import { countByState } from "./core/board.ts";
import { callOf, type Command } from "./core/commands.ts";
import { ConsoleContext, useConsole, type ConsoleState, type OrderDraft } from "./context.ts";
import { Ask, Keys, type Question } from "./dialogs.tsx";
import { isTyping } from "./grid.tsx";
import { Live } from "./live.ts";
import { Key } from "./marks.tsx";
import { go, inMarket, route } from "./router.ts";
import type { Job, Market } from "./core/types.ts";
import { DriverPage } from "./views/driver.tsx";
import { DriversView } from "./views/drivers.tsx";
import { ExceptionsView } from "./views/exceptions.tsx";
import { JobPage } from "./views/job.tsx";
import { JobsView } from "./views/jobs.tsx";
import { NewOrder } from "./views/new-order.tsx";
import { PolicyView } from "./views/policy.tsx";
import { Select } from "./views/jobs.tsx";

// The map's library is larger than all else: it is read when a map is opened.
const MapView = lazy(() => import("./map/view.tsx").then((it) => ({ default: it.MapView })));
const ReplayView = lazy(() => import("./map/replay.tsx").then((it) => ({ default: it.ReplayView })));

const PLACES: { path: string; name: string; key: string }[] = [
  { path: "exceptions", name: "Exceptions", key: "e" },
  { path: "orders", name: "Orders", key: "o" },
  { path: "drivers", name: "Drivers", key: "d" },
  { path: "map", name: "Map", key: "m" },
  { path: "replay", name: "Replay", key: "r" },
  { path: "policy", name: "Policy", key: "p" },
  { path: "new", name: "New order", key: "n" },
];
const COUNTED = ["queued", "offered", "assigned", "at_mall", "picked_up", "returning"];
// The second key of `g e` must follow soon.
const CHORD_MS = 1_500;
// A command that takes longer is shown as being sent.
const SLOW_MS = 400;

export function Console(): JSX.Element {
  const [markets, setMarkets] = useState<Market[] | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const read = (): void => {
    call<{ items: Market[] }>("/v1/markets").then(
      (found) => setMarkets(found.items),
      (error: unknown) => setFault(inWords(error)),
    );
  };
  useEffect(read, []);
  const wanted = route.value.segments[0];
  const market = markets?.find((it) => it.id === wanted) ?? markets?.[0];
  useEffect(() => {
    if (!market || market.id === wanted) return;
    if (wanted !== undefined) toast(`You have no access to a market “${wanted}”.`, "danger");
    go(`/${market.id}/exceptions`);
  }, [market?.id, wanted]);
  if (!market || !markets)
    return (
      <main class="sign-in">
        {fault !== null ? (
          <Empty title="The markets could not be loaded">
            <p>{fault}</p>
            <Button onClick={read}>Try again</Button>
          </Empty>
        ) : markets?.length === 0 ? (
          <Empty title="No market">This token has access to no market.</Empty>
        ) : (
          <p role="status">Loading…</p>
        )}
      </main>
    );
  return <InMarket key={market.id} market={market} markets={markets} onChanged={read} />;
}

function InMarket({ market, markets, onChanged }: { market: Market; markets: Market[]; onChanged: () => void }): JSX.Element {
  const live = useMemo(() => new Live(market), [market.id]);
  const [question, setQuestion] = useState<Question | null>(null);
  const [isSending, setSending] = useState(false);
  const running = useRef(new Set<string>());
  const draft = useRef<OrderDraft | null>(null);
  const [areKeysShown, setKeysShown] = useState(false);
  useEffect(() => {
    live.start();
    live.onMarketChanged = onChanged;
    return () => live.stop();
  }, [live]);

  // A question is about what was shown when it was asked.
  useEffect(() => {
    setQuestion(null);
    setKeysShown(false);
  }, [route.value.path]);

  const perform = async (command: Command): Promise<void> => {
    const wanted = callOf(command, new Date().toISOString());
    const name = JSON.stringify(command);
    // Pressed again before the answer has come, it is the same command.
    if (wanted === null || running.current.has(name)) return;
    running.current.add(name);
    const slow = setTimeout(() => setSending(true), SLOW_MS);
    try {
      const answer = await call<unknown>(wanted.path, { method: wanted.method, body: wanted.body });
      if (isJob(answer)) live.board.putJob(answer);
      if (command.kind === "acknowledge") live.board.acknowledged(command.alert);
      live.draw();
      toast(wanted.done);
      if (command.kind === "pause" || command.kind === "unpause") onChanged();
    } finally {
      clearTimeout(slow);
      running.current.delete(name);
      if (running.current.size === 0) setSending(false);
    }
  };
  const context: ConsoleState = {
    live,
    market,
    markets,
    say: toast,
    run: (command, confirm) => {
      if (command.kind === "open") go(`/${market.id}${command.path}`);
      else if (isAsked(command)) setQuestion({ command });
      else if (confirm !== undefined) setQuestion({ command, text: confirm });
      else perform(command).catch((error: unknown) => toast(inWords(error), "danger"));
    },
    draft,
  };
  useKeys(market.id, () => setKeysShown(true));

  return (
    <ConsoleContext.Provider value={context}>
      <div class="console">
        <a class="skip" href="#content" onClick={(event) => { event.preventDefault(); document.getElementById("content")?.focus(); }}>
          Skip to the content
        </a>
        <Top isSending={isSending} onKeys={() => setKeysShown(true)} />
        <Navigation />
        <main id="content" tabIndex={-1}>
          <LineBanner />
          <Suspense fallback={<p class="loading">Loading…</p>}>
            <Place />
          </Suspense>
        </main>
      </div>
      {question ? <Ask question={question} onDo={perform} onClose={() => setQuestion(null)} /> : null}
      {areKeysShown ? <Keys onClose={() => setKeysShown(false)} /> : null}
    </ConsoleContext.Provider>
  );
}

function Place(): JSX.Element {
  const [, place, id] = route.value.segments;
  switch (place) {
    case "orders":
      return <JobsView />;
    case "drivers":
      return <DriversView />;
    case "map":
      return <MapView />;
    case "replay":
      return <ReplayView />;
    case "policy":
      return <PolicyView />;
    case "new":
      return <NewOrder />;
    case "job":
      return id ? <JobPage key={id} id={id} /> : <JobsView />;
    case "driver":
      return id ? <DriverPage key={id} id={id} /> : <DriversView />;
    default:
      return <ExceptionsView />;
  }
}

function Top({ isSending, onKeys }: { isSending: boolean; onKeys: () => void }): JSX.Element {
  const { live, market, markets } = useConsole();
  live.version.value;
  const counts = countByState(live.board.jobs.values());
  const state = live.state.value;
  return (
    <header class="top">
      <span class="brand">Mallard</span>
      {markets.length > 1 ? (
        <Select label="Market" value={market.id} none={null} onChange={(id) => go(inMarket(id, route.value))} options={markets.map((it) => [it.id, it.name])} />
      ) : (
        <strong>{market.name}</strong>
      )}
      {market.paused ? <span class="badge badge-warn">Matching is paused</span> : null}
      <ul class="counts" aria-label="Open orders by state">
        {COUNTED.map((it) => (
          <li key={it}>
            <button type="button" class="link-plain" onClick={() => go(`/${market.id}/orders?state=${it}`)}>
              <strong>{counts.get(it) ?? 0}</strong> {named(it).toLowerCase()}
            </button>
          </li>
        ))}
      </ul>
      <span class={`line line-${state}`} role="status">
        {isSending ? "Sending…" : state === "live" ? "Live" : state === "down" ? "Disconnected" : "Connecting"}
      </span>
      <Button size="small" kind="quiet" aria-label="Keys" onClick={onKeys}>
        ?
      </Button>
      <Button size="small" kind="quiet" onClick={() => signOut()}>
        Sign out
      </Button>
    </header>
  );
}

function Navigation(): JSX.Element {
  const { live, market } = useConsole();
  const place = route.value.segments[1] ?? "exceptions";
  const urgent = live.exceptions.value.filter((row) => row.severity === "now").length;
  const bar = useRef<HTMLElement>(null);
  // On a phone the bar is wider than the screen.
  useEffect(() => {
    const element = bar.current;
    if (element === null) return;
    const sizes = new ResizeObserver(() => reveal(element.querySelector("[aria-current]")));
    sizes.observe(element);
    return () => sizes.disconnect();
  }, [place]);
  return (
    <nav class="nav" aria-label="Places" ref={bar} onFocusIn={(event) => reveal(event.target as Element)}>
      {PLACES.map((it) => {
        const isHere = it.path === place || (it.path === "orders" && place === "job") || (it.path === "drivers" && place === "driver");
        return (
          <a key={it.path} href={`#/${market.id}/${it.path}`} aria-current={isHere ? "page" : undefined}>
            <span>
              {it.name}
              {it.path === "exceptions" && urgent > 0 ? (
                <span class="nav-count" aria-label={`${urgent} need you now`}>
                  {urgent}
                </span>
              ) : null}
            </span>
            <Key>{`g ${it.key}`}</Key>
          </a>
        );
      })}
    </nav>
  );
}

/** Scrolls a place of the bar out of the part where the bar fades out. */
function reveal(place: Element | null): void {
  place?.scrollIntoView({ inline: "nearest", block: "nearest" });
}

/** `g e` and the like, `/`, `?`, Escape. */
function useKeys(market: string, onHelp: () => void): void {
  useEffect(() => {
    let chordUntil = 0;
    const listen = (event: KeyboardEvent): void => {
      if (event.metaKey || event.ctrlKey || event.altKey || document.querySelector("dialog[open]")) return;
      if (isTyping(event.target)) {
        if (event.key === "Escape") (event.target as HTMLElement).blur();
        return;
      }
      const place = PLACES.find((it) => it.key === event.key);
      // The times at which the keys were pressed: a busy page gets the events late.
      if (chordUntil > event.timeStamp && place) {
        chordUntil = 0;
        go(`/${market}/${place.path}`);
      } else if (event.key === "g") chordUntil = event.timeStamp + CHORD_MS;
      else if (event.key === "/") document.querySelector<HTMLElement>("[data-search]")?.focus();
      else if (event.key === "?") onHelp();
      else if (event.key === "Escape" && (route.value.segments[1] === "job" || route.value.segments[1] === "driver")) history.back();
      else return;
      event.preventDefault();
      event.stopImmediatePropagation();
    };
    addEventListener("keydown", listen, { capture: true });
    return () => removeEventListener("keydown", listen, { capture: true });
  }, [market]);
}

function isAsked(command: Command): command is Extract<Command, { kind: `ask-${string}` }> {
  return command.kind.startsWith("ask-");
}

function isJob(answer: unknown): answer is Job {
  return typeof answer === "object" && answer !== null && "pickup" in answer && "state" in answer;
}
