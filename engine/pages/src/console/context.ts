/** What every view of the console needs: the calls, the live board, and how to do a command. */

import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import { inWords } from "../shared/api.ts";
import type { Command } from "./core/commands.ts";
import type { Live } from "./live.ts";
import type { Market } from "./core/types.ts";

/** An order that is being written by hand. */
export interface OrderDraft {
  mall: string;
  store: string;
  more: readonly { store: string; parcels: string }[];
  fields: Record<string, string>;
  level: string;
  /** The idempotency key: a request without an answer can be repeated without a second order. */
  key: string;
}

export interface ConsoleState {
  live: Live;
  market: Market;
  markets: Market[];
  /** Do a command; asks first if it has a question. */
  run: (command: Command, confirm?: string) => void;
  say: (text: string) => void;
  /** A new order that was left unfinished, for when the form is opened again. */
  draft: { current: OrderDraft | null };
}

export const ConsoleContext = createContext<ConsoleState | null>(null);

export function useConsole(): ConsoleState {
  const context = useContext(ConsoleContext);
  if (context === null) throw new Error("used outside of the console");
  return context;
}

const selections = new Map<string, string>();

/** The selected row of a list, which is still selected when somebody comes back to the list. */
export function useSelected(list: string): [string | null, (key: string) => void] {
  const { market } = useConsole();
  const name = `${market.id}/${list}`;
  const [selected, setSelected] = useState(selections.get(name) ?? null);
  const select = (key: string): void => {
    selections.set(name, key);
    setSelected(key);
  };
  return [selected, select];
}

/** Read something from the API when `key` changes or `again` is called. */
export function useLoaded<T>(key: string, read: () => Promise<T>): { value: T | null; fault: string | null; again: () => void } {
  const [value, setValue] = useState<T | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let isCurrent = true;
    read().then(
      (found) => {
        if (!isCurrent) return;
        setValue(found);
        setFault(null);
      },
      (error: unknown) => {
        if (isCurrent) setFault(inWords(error));
      },
    );
    return () => {
      isCurrent = false;
    };
  }, [key, turn]);
  return { value, fault, again: () => setTurn((it) => it + 1) };
}
