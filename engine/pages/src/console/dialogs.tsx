/** Questions before a command: is it sure, to whom, with which reason. */

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { inWords } from "../shared/api.ts";
import { Button, Dialog, Field, toast } from "../shared/components.tsx";
import { call } from "../shared/session.ts";
import { distance, duration, named } from "../shared/words.ts";
import type { Command } from "./core/commands.ts";
import { useConsole, useLoaded } from "./context.ts";
import { candidateRows } from "./core/explain.ts";
import type { Explanation } from "./core/types.ts";
import { Select } from "./views/jobs.tsx";

export type Question = { command: Command; text: string } | { command: Extract<Command, { kind: `ask-${string}` }> };

interface Answering {
  onDo: (command: Command) => void;
  onClose: () => void;
  /** The command is being sent. */
  isBusy: boolean;
  /** Why it was not done, in words. */
  fault: string | null;
}

interface Props<C> extends Answering {
  command: C;
}

interface AskProps {
  question: Question;
  /** Rejects if the command was not done. */
  onDo: (command: Command) => Promise<void>;
  onClose: () => void;
}

/** A question stays open until its command is done, so that no input is lost on a bad line. */
export function Ask({ question, onDo, onClose }: AskProps): JSX.Element {
  const [isBusy, setBusy] = useState(false);
  const [fault, setFault] = useState<string | null>(null);
  const isShown = useRef(true);
  useEffect(() => () => void (isShown.current = false), []);

  async function perform(command: Command): Promise<void> {
    if (isBusy) return;
    setBusy(true);
    setFault(null);
    try {
      await onDo(command);
      if (isShown.current) onClose();
    } catch (error) {
      if (isShown.current) setFault(inWords(error));
      else toast(inWords(error), "danger");
    } finally {
      setBusy(false);
    }
  }

  const answering: Answering = { onDo: (command) => void perform(command), onClose, isBusy, fault };
  if ("text" in question) return <Confirm {...answering} command={question.command} text={question.text} />;
  const { command } = question;
  switch (command.kind) {
    case "ask-assign":
      return <Assign {...answering} command={command} />;
    case "ask-close":
      return <Close {...answering} command={command} />;
    case "ask-cancel":
      return <Cancel {...answering} command={command} />;
    case "ask-instructions":
      return <Instructions {...answering} command={command} />;
  }
}

function Fault({ text }: { text: string | null }): JSX.Element | null {
  return text === null ? null : <p class="form-error" role="alert">{text}</p>;
}

interface FormProps extends Omit<Answering, "onDo"> {
  title: string;
  /** The words of the button, which is red for what cannot be undone. */
  submit: string;
  kind?: "primary" | "danger";
  onSubmit: () => void;
  children: ComponentChildren;
}

/** A dialog of fields, with what went wrong above its two buttons. */
function Form({ title, submit, kind = "primary", onSubmit, onClose, isBusy, fault, children }: FormProps): JSX.Element {
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onSubmit();
        }}
      >
        {children}
        <Fault text={fault} />
        <div class="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind={kind} busy={isBusy}>
            {submit}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

function Confirm({ command, text, onDo, onClose, isBusy, fault }: Props<Command> & { text: string }): JSX.Element {
  return (
    <Dialog title="Are you sure?" onClose={onClose}>
      <Fault text={fault} />
      <p>{text}</p>
      <div class="dialog-actions">
        <Button onClick={onClose}>No</Button>
        <Button kind="primary" busy={isBusy} onClick={() => onDo(command)} autofocus>
          Yes
        </Button>
      </div>
    </Dialog>
  );
}

/** Who fits best comes first, as the last round ranked them; any other driver can be named too. */
function Assign({ command, onDo, ...rest }: Props<Extract<Command, { kind: "ask-assign" }>>): JSX.Element {
  const { live } = useConsole();
  const [text, setText] = useState("");
  const { value } = useLoaded(command.job, () => call<Explanation>(`/v1/jobs/${encodeURIComponent(command.job)}/explain`));
  const ranked = value ? candidateRows(value).filter((row) => row.candidate.eligible) : [];
  const facts = new Map(ranked.map((row) => [row.candidate.driver, `${duration(row.candidate.eta_s)}, ${distance(row.candidate.distance_m)}`]));
  const others = [...live.board.drivers.values()]
    .filter((it) => !facts.has(it.driver) && it.connected !== false && it.state !== "offline")
    .map((it) => it.driver)
    .sort();
  const found = [...facts.keys(), ...others].filter((it) => it.toLowerCase().includes(text.toLowerCase())).slice(0, 8);
  const assign = (driver: string): void => onDo({ kind: "assign", job: command.job, driver });

  function assignFirst(): void {
    const driver = found[0] ?? text.trim();
    if (driver) assign(driver);
  }

  return (
    <Form {...rest} title="Assign to a driver" submit="Assign" onSubmit={assignFirst}>
      <Field label="Driver" value={text} onInput={(event) => setText(event.currentTarget.value)} autocomplete="off" autofocus hint="Press Enter to take the first match." />
      <ul class="choices">
        {found.map((driver) => (
          <li key={driver}>
            <button type="button" class="choice" onClick={() => assign(driver)}>
              <span class="mono">{driver}</span>{" "}
              <span class="muted">{facts.get(driver) ?? named(live.board.drivers.get(driver)?.state ?? "")}</span>
            </button>
          </li>
        ))}
      </ul>
      {found.length === 0 ? <p class="muted">No such driver is connected; Enter tries the name all the same.</p> : null}
    </Form>
  );
}

function Close({ command, onDo, ...rest }: Props<Extract<Command, { kind: "ask-close" }>>): JSX.Element {
  const [state, setState] = useState("returned");
  const [reason, setReason] = useState("");
  const close = (): void => onDo({ kind: "close", job: command.job, state, reason: reason.trim() || "operator" });
  return (
    <Form {...rest} title="Close this order" submit="Close the order" kind="danger" onSubmit={close}>
      <p>The driver is freed of it. Close it only if you know where the parcels are.</p>
      <Select label="As" value={state} none={null} onChange={setState} options={[["returned", "Returned"], ["delivered", "Delivered"], ["lost", "Lost"]]} />
      <Field label="Reason" value={reason} maxLength={200} onInput={(event) => setReason(event.currentTarget.value)} />
    </Form>
  );
}

const CANCEL_REASONS = ["customer", "store", "out_of_stock", "duplicate", "late", "fraud", "other"];

function Cancel({ command, onDo, ...rest }: Props<Extract<Command, { kind: "ask-cancel" }>>): JSX.Element {
  const { live } = useConsole();
  const [reason, setReason] = useState("customer");
  const [note, setNote] = useState("");
  const state = live.board.jobs.get(command.job)?.state;
  const cancel = (): void => onDo({ kind: "cancel", job: command.job, reason, ...(note.trim() ? { note: note.trim() } : {}) });
  return (
    <Form {...rest} title="Cancel this order" submit="Cancel the order" kind="danger" onSubmit={cancel}>
      {state === "picked_up" || state === "returning" ? <p>It is on board: the driver brings it back.</p> : null}
      <Select label="Reason" value={reason} none={null} onChange={setReason} options={CANCEL_REASONS.map((it) => [it, named(it)])} />
      <Field label="Note" value={note} maxLength={200} onInput={(event) => setNote(event.currentTarget.value)} />
    </Form>
  );
}

function Instructions({ command, onDo, ...rest }: Props<Extract<Command, { kind: "ask-instructions" }>>): JSX.Element {
  const { job, problem } = command;
  const [text, setText] = useState("");
  const send = (): void => onDo({ kind: "answer", job, problem, action: "instructions", text: text.trim() });
  return (
    <Form {...rest} title="Instructions for the driver" submit="Send" onSubmit={send}>
      <Field label="What should the driver do?" value={text} required maxLength={500} onInput={(event) => setText(event.currentTarget.value)} autofocus />
    </Form>
  );
}

const KEYS: [string, string][] = [
  ["j k ↑ ↓", "move in the list"],
  ["Enter", "open the selected row"],
  [".", "all that can be done about a row"],
  ["/", "find"],
  ["g e · g o · g d", "exceptions, orders, drivers"],
  ["g m · g r · g p · g n", "map, replay, policy, new order"],
  ["Esc", "close, or go back"],
  ["?", "these keys"],
];

export function Keys({ onClose }: { onClose: () => void }): JSX.Element {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl class="keys">
        {KEYS.map(([key, what]) => (
          <div key={key}>
            <dt><kbd>{key}</kbd></dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <p class="muted">A row of the exceptions shows the keys of what can be done about it.</p>
      <div class="dialog-actions">
        <Button onClick={onClose} autofocus>
          Close
        </Button>
      </div>
    </Dialog>
  );
}
