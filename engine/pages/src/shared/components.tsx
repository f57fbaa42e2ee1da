/** The components that pages share. Their looks are in base.css. */

import { signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { line } from "./api.ts";
import { now } from "./now.ts";
import { clock } from "./words.ts";

export type Tone = "neutral" | "ok" | "info" | "warn" | "danger";

type ButtonProps = Omit<JSX.IntrinsicElements["button"], "size"> & {
  kind?: "plain" | "primary" | "danger" | "quiet";
  size?: "small" | "medium" | "large";
  /** A request is on its way: further clicks do nothing, and the focus stays. */
  busy?: boolean;
};

export function Button({
  kind = "plain",
  size = "medium",
  busy = false,
  onClick,
  children,
  ...rest
}: ButtonProps) {
  const names = ["button"];
  if (kind !== "plain") names.push(`button-${kind}`);
  if (size !== "medium") names.push(`button-${size}`);
  return (
    <button
      type="button"
      {...rest}
      class={names.join(" ")}
      aria-disabled={busy ? "true" : undefined}
      onClick={busy ? (event) => event.preventDefault() : onClick}
    >
      {children}
    </button>
  );
}

export function Badge({ tone = "neutral", children }: { tone?: Tone; children: ComponentChildren }) {
  return <span class={`badge badge-${tone}`}>{children}</span>;
}

export function Card({ children, ...rest }: JSX.IntrinsicElements["section"]) {
  return (
    <section {...rest} class="card">
      {children}
    </section>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <strong>{title}</strong>
      {children}
    </div>
  );
}

type FieldProps = Omit<JSX.IntrinsicElements["input"], "label"> & {
  label: string;
  hint?: string;
  error?: string | null;
};

/** A text field with its label, a hint and what is wrong with it. */
export function Field({ label, hint, error, ...rest }: FieldProps) {
  const id = useId();
  const notes = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        // A union of a type for each kind of input, which a spread takes apart.
        {...(rest as object)}
        id={id}
        class="input"
        aria-invalid={error ? "true" : undefined}
        aria-describedby={notes || undefined}
      />
      {hint && (
        <span class="hint" id={`${id}-hint`}>
          {hint}
        </span>
      )}
      {error && (
        <span class="error" id={`${id}-error`} role="alert">
          {error}
        </span>
      )}
    </div>
  );
}

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}

/** A modal dialog; the browser keeps the focus inside, and Escape closes it. */
export function Dialog({ title, onClose, children }: DialogProps) {
  const id = useId();
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    dialog?.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class="dialog"
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

export interface Column<Row> {
  title: string;
  cell: (row: Row) => ComponentChildren;
}

interface TableProps<Row> {
  caption: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  keyOf: (row: Row) => string;
}

export function Table<Row>({ caption, columns, rows, keyOf }: TableProps<Row>) {
  return (
    <div class="table-scroll" role="region" aria-label={caption} tabIndex={0}>
      <table class="table">
        <caption class="visually-hidden">{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.title} scope="col">
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)}>
              {columns.map((column) => (
                <td key={column.title}>{column.cell(row)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface ToastMessage {
  id: number;
  text: string;
  tone: "neutral" | "danger";
}

const TOAST_MS = 6000;
let lastToast = 0;
const toasts = signal<readonly ToastMessage[]>([]);

/** Shows a message for a while. A message about a failure stays until it is dismissed. */
export function toast(text: string, tone: ToastMessage["tone"] = "neutral"): void {
  const id = ++lastToast;
  // Said again, it is the same message.
  const others = toasts.value.filter((it) => it.text !== text);
  toasts.value = [...others.slice(-2), { id, text, tone }];
  if (tone === "neutral") setTimeout(() => dismiss(id), TOAST_MS);
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((it) => it.id !== id);
}

/** Dismisses all messages: they name orders and people. */
export function dismissAll(): void {
  toasts.value = [];
}

/** Where toasts appear; once a page. */
export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map(({ id, text, tone }) => (
        <div key={id} class={`toast toast-${tone}`}>
          <span class="breaks">{text}</span>
          <button type="button" aria-label="Dismiss" onClick={() => dismiss(id)}>
            ✕
          </button>
        </div>
      ))}
    </div>
  );
}

/** Says that the line is down and how old what is shown is; once a page, at the top. */
export function LineBanner({ children }: { children?: ComponentChildren }) {
  const { isUp, lastMs } = line.value;
  return (
    <div role="status" aria-live="polite">
      {!isUp && (
        <div class="line-banner">
          <span>
            No connection
            {lastMs !== null && <>, data as of {clock(lastMs, now.value)}</>}.
          </span>
          {children}
        </div>
      )}
    </div>
  );
}
