/** A long list with rows of one height: only what is in sight is drawn, and the keyboard moves in it. */

import { Component, type ComponentChildren, type JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export interface Column<Row> {
  name: string;
  /** Its width as a track of the grid. */
  width: string;
  cell: (row: Row) => ComponentChildren;
  align?: "end";
  /** Left out where there is no room; "widest": on a tablet too. */
  wide?: boolean | "widest";
}

interface Props<Row> {
  label: string;
  rows: Row[];
  columns: Column<Row>[];
  rowKey: (row: Row) => string;
  rowClass?: (row: Row) => string;
  /** Enter, or a click. */
  onOpen: (row: Row) => void;
  /** Any other key on the selected row. True: it was taken. */
  onKey?: (row: Row, key: string) => boolean;
  selected: string | null;
  onSelect: (key: string) => void;
  empty: ComponentChildren;
  /** What else the cells show, such as the present second: a row is drawn anew when it has changed. */
  stamp: unknown;
}

/** What a row does, the same object for the whole life of a list. */
interface Hands<Row> {
  select: (key: string) => void;
  open: (row: Row) => void;
}

interface LineProps<Row> {
  name: string;
  row: Row;
  index: number;
  height: number;
  tracks: string;
  columns: Column<Row>[];
  rowClass: string;
  isSelected: boolean;
  isReached: boolean;
  stamp: unknown;
  hands: Hands<Row>;
}

const OVERSCAN = 8;
/** There is room for a table. */
export const WIDE = "(min-width: 56rem)";
/** There is room for every column beside the places. */
const WIDEST = "(min-width: 80rem)";

export function Grid<Row>(props: Props<Row>): JSX.Element {
  const { rows, rowKey, selected, onSelect } = props;
  const isWide = useMedia(WIDE);
  const height = isWide ? 40 : 68;
  const body = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [room, setRoom] = useState(600);
  const isWidest = useMedia(WIDEST);
  const columns = props.columns.filter(({ wide }) => isWidest || !wide || (isWide && wide !== "widest"));
  const tracks = columns.map((column) => column.width).join(" ");

  useLayoutEffect(() => {
    const element = body.current;
    if (!element) return;
    const sizes = new ResizeObserver(() => setRoom(element.clientHeight));
    sizes.observe(element);
    return () => sizes.disconnect();
  }, []);

  const latest = useRef(props);
  latest.current = props;
  const hands = useRef<Hands<Row>>({ select: (key) => latest.current.onSelect(key), open: (row) => latest.current.onOpen(row) }).current;
  // A ref, not the state: a key that follows another at once must act on the row just selected.
  const chosen = useRef(selected);
  chosen.current = selected;
  const index = rows.findIndex((row) => rowKey(row) === selected);
  const from = Math.max(0, Math.floor(top / height) - OVERSCAN);
  const to = Math.min(rows.length, Math.ceil((top + room) / height) + OVERSCAN);

  const move = (next: number): void => {
    const row = rows[Math.max(0, Math.min(rows.length - 1, next))];
    const element = body.current;
    if (!row || !element) return;
    chosen.current = rowKey(row);
    onSelect(rowKey(row));
    const at = rows.indexOf(row) * height;
    if (at < element.scrollTop) element.scrollTop = at;
    else if (at + height > element.scrollTop + element.clientHeight) element.scrollTop = at + height - element.clientHeight;
    requestAnimationFrame(() => element.querySelector<HTMLElement>(`[data-key="${CSS.escape(rowKey(row))}"]`)?.focus());
  };

  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.metaKey || event.ctrlKey || event.altKey || isTyping(event.target)) return;
    const page = Math.max(1, Math.floor(room / height) - 1);
    const at = rows.findIndex((row) => rowKey(row) === chosen.current);
    const steps: Record<string, number> = {
      j: at + 1,
      ArrowDown: at + 1,
      k: at - 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: rows.length - 1,
    };
    const step = steps[event.key];
    const row = rows[at];
    if (step !== undefined) move(step);
    else if (row && event.key === "Enter" && !isButton(event.target)) props.onOpen(row);
    // While a key is held, its movement repeats; its action does not.
    else if (!(row && !event.repeat && props.onKey?.(row, event.key))) return;
    event.preventDefault();
    event.stopPropagation();
  };

  // Somebody who comes back goes on at the row that was left.
  const isBack = useRef(selected !== null);
  useEffect(() => {
    if (!isBack.current || index < 0) return;
    isBack.current = false;
    if (document.activeElement === null || document.activeElement === document.body) move(index);
  }, [index]);

  // The arrows work as soon as the list is there, without a click into it.
  const takeKey = useRef(onKeyDown);
  takeKey.current = onKeyDown;
  useLayoutEffect(() => {
    const listen = (event: KeyboardEvent): void => {
      const isElsewhere = document.querySelector("dialog[open]") !== null || body.current === null;
      if (!isElsewhere && !body.current?.contains(event.target as Node)) takeKey.current(event);
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);

  return (
    <div class="grid" role="grid" aria-label={props.label} aria-rowcount={rows.length + 1}>
      <div class="grid-head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: tracks }}>
        {columns.map((column) => (
          <span role="columnheader" class={column.align === "end" ? "end" : ""}>
            {column.name}
          </span>
        ))}
      </div>
      <div class="grid-body" ref={body} onScroll={(event) => setTop(event.currentTarget.scrollTop)} onKeyDown={onKeyDown} role="rowgroup">
        {rows.length === 0 ? (
          <div class="empty" role="row">
            <div role="gridcell">{props.empty}</div>
          </div>
        ) : (
          <div role="presentation" style={{ height: `${rows.length * height}px`, position: "relative" }}>
            {rows.slice(from, to).map((row, offset) => {
              const key = rowKey(row);
              return (
                <Line
                  key={key}
                  name={key}
                  row={row}
                  index={from + offset}
                  height={height}
                  tracks={tracks}
                  columns={columns}
                  rowClass={props.rowClass?.(row) ?? ""}
                  isSelected={key === selected}
                  isReached={key === selected || (index < 0 && from + offset === 0)}
                  stamp={props.stamp}
                  hands={hands}
                />
              );
            })}
          </div>
        )}
      </div>
    </div>
  );
}

/** One row. A row that is the same as before is not even compared with what is drawn. */
class Line<Row> extends Component<LineProps<Row>> {
  override shouldComponentUpdate(next: LineProps<Row>): boolean {
    const { columns: _old, ...before } = this.props;
    const { columns: _new, ...after } = next;
    return (Object.keys(after) as (keyof typeof after)[]).some((name) => after[name] !== before[name]);
  }

  override render(): JSX.Element {
    const { name, row, index, height, tracks, columns, rowClass, isSelected, isReached, hands } = this.props;
    return (
      <div
        data-key={name}
        role="row"
        aria-rowindex={index + 2}
        aria-selected={isSelected}
        tabIndex={isReached ? 0 : -1}
        class={`grid-row ${rowClass}`}
        style={{ transform: `translateY(${index * height}px)`, height: `${height}px`, gridTemplateColumns: tracks }}
        onFocus={() => hands.select(name)}
        onClick={(event) => {
          if (!isButton(event.target)) hands.open(row);
        }}
      >
        {columns.map((column) => (
          <span role="gridcell" class={column.align === "end" ? "end" : ""}>
            {column.cell(row)}
          </span>
        ))}
      </div>
    );
  }
}

export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable);
}

function isButton(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("button, a") !== null;
}

export function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const change = (): void => setMatches(list.matches);
    list.addEventListener("change", change);
    return () => list.removeEventListener("change", change);
  }, [query]);
  return matches;
}
