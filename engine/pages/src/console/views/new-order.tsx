/** The form for an order by hand: a phone call, a test, a parcel that was forgotten. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, inWords } from "../../shared/api.ts";
import { Button, Card, Field } from "../../shared/components.tsx";
import { call } from "../../shared/session.ts";
import { useConsole, type OrderDraft } from "../context.ts";
import { go } from "../router.ts";
import type { Job } from "../core/types.ts";
import { Select } from "./jobs.tsx";

const HOUR_MS = 3_600_000;
/** The contract's limit. */
const MOST_SHOPS = 10;

/** The fields of the form, by the pointer with which the API names what is wrong. */
const POINTERS: Record<string, RegExp> = {
  external_id: /^\/external_id/,
  store: /^\/pickup/,
  lat: /^\/dropoff\/lat/,
  lon: /^\/dropoff\/lon/,
  address: /^\/dropoff\/address/,
  name: /^\/dropoff\/name/,
  contact: /^\/dropoff\/contact/,
  note: /^\/dropoff\/note/,
  deadline: /^\/dropoff\/deadline/,
  parcels: /^\/parcels/,
};

export function NewOrder(): JSX.Element {
  const { market, say, live, draft } = useConsole();
  const kept = draft.current;
  const [mall, setMall] = useState(kept?.mall ?? market.malls[0]?.id ?? "");
  const stores = market.malls.find((it) => it.id === mall)?.stores ?? [];
  const [store, setStore] = useState(kept?.store ?? stores[0]?.id ?? "");
  const [more, setMore] = useState<readonly ShopPart[]>(kept?.more ?? []);
  const [fields, setFields] = useState<Record<string, string>>(kept?.fields ?? { parcels: "1", deadline: local(Date.now() + 4 * HOUR_MS) });
  const [level, setLevel] = useState(kept?.level ?? "");
  const [faults, setFaults] = useState<Record<string, string>>({});
  const [fault, setFault] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const key = useRef(kept?.key ?? crypto.randomUUID());
  const written = useRef<OrderDraft | null>(null);
  written.current = { mall, store, more, fields, level, key: key.current };
  const isSubmitted = useRef(false);
  useEffect(() => () => void (draft.current = isSubmitted.current ? null : written.current), []);

  const field = (name: string, label: string, more: Partial<JSX.IntrinsicElements["input"]> & { hint?: string } = {}): JSX.Element => (
    <Field
      label={label}
      value={fields[name] ?? ""}
      error={faults[name] ?? null}
      onInput={(event) => setFields({ ...fields, [name]: event.currentTarget.value })}
      {...(more as object)}
    />
  );

  const submit = async (): Promise<void> => {
    setBusy(true);
    setFault(null);
    setFaults({});
    try {
      const job = await call<Job>("/v1/jobs", {
        method: "POST",
        headers: { "idempotency-key": key.current },
        body: bodyOf(fields, mall, store, level, more),
      });
      isSubmitted.current = true;
      live.board.putJob(job);
      say(`Order ${job.external_id ?? job.id} was submitted`);
      go(`/${market.id}/job/${job.id}`);
    } catch (error) {
      if (error instanceof ApiError) key.current = crypto.randomUUID();
      const found: Record<string, string> = {};
      for (const it of error instanceof ApiError ? error.errors : [])
        for (const [name, pointer] of Object.entries(POINTERS)) if (pointer.test(it.pointer)) found[name] ??= it.detail;
      setFaults(found);
      setFault(inWords(error));
    } finally {
      setBusy(false);
    }
  };

  return (
    <section class="page page-narrow" aria-labelledby="new-title">
      <header class="page-head">
        <h1 id="new-title">New order</h1>
      </header>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!isBusy) void submit();
        }}
      >
        <Card>
          {fault ? <p class="form-error" role="alert">{fault}</p> : null}
          <div class="form-grid">
            <Select
              label="Mall"
              value={mall}
              none={null}
              onChange={(next) => {
                setMall(next);
                setStore(market.malls.find((it) => it.id === next)?.stores[0]?.id ?? "");
                setMore([]);
              }}
              options={market.malls.map((it) => [it.id, it.name])}
            />
            <Select label="Shop" value={store} none={null} onChange={setStore} options={stores.map((it) => [it.id, it.name])} />
            {field("parcels", "Parcels", { type: "number", min: 1, max: 999, required: true })}
            {field("external_id", "Order number", { hint: "Yours; two open orders cannot share one." })}
            <MoreShops options={stores.filter((it) => it.id !== store).map((it) => [it.id, it.name])} shops={more} onChange={setMore} />
            {field("name", "Customer", { autocomplete: "off" })}
            {field("contact", "Contact", { autocomplete: "off" })}
            {field("address", "Address", { autocomplete: "off" })}
            {field("note", "Note for the driver", { autocomplete: "off" })}
            {field("lat", "Latitude", { inputMode: "decimal", required: true })}
            {field("lon", "Longitude", { inputMode: "decimal", required: true })}
            {field("deadline", "Deliver by", { type: "datetime-local", required: true })}
            <Select
              label="Service"
              none="The market’s"
              value={level}
              onChange={setLevel}
              options={[["express", "Express"], ["pooled", "Pooled"], ["same_day", "Same day"]]}
            />
          </div>
          <div class="dialog-actions">
            <Button type="submit" kind="primary" busy={isBusy}>
              Submit the order
            </Button>
          </div>
        </Card>
      </form>
    </section>
  );
}

/** A further shop of an order. */
export interface ShopPart {
  store: string;
  parcels: string;
}

interface MoreShopsProps {
  options: [string, string][];
  shops: readonly ShopPart[];
  onChange: (shops: readonly ShopPart[]) => void;
}

function MoreShops({ options, shops, onChange }: MoreShopsProps): JSX.Element {
  const free = options.filter(([id]) => !shops.some((it) => it.store === id));
  const set = (index: number, change: Partial<ShopPart>): void => onChange(shops.map((it, n) => (n === index ? { ...it, ...change } : it)));
  return (
    <div class="more-shops">
      {shops.map((shop, index) => (
        <fieldset key={index}>
          <legend class="visually-hidden">Shop {index + 2}</legend>
          <Select
            label={`Shop ${index + 2}`}
            value={shop.store}
            none={null}
            onChange={(store) => set(index, { store })}
            options={options.filter(([id]) => id === shop.store || free.some(([other]) => other === id))}
          />
          <Field
            label={`Parcels of shop ${index + 2}`}
            type="number"
            min={1}
            max={999}
            required
            value={shop.parcels}
            onInput={(event) => set(index, { parcels: event.currentTarget.value })}
          />
          <Button aria-label={`Remove shop ${index + 2}`} onClick={() => onChange(shops.filter((_, n) => n !== index))}>Remove</Button>
        </fieldset>
      ))}
      <Button disabled={free.length === 0 || shops.length >= MOST_SHOPS - 1} onClick={() => onChange([...shops, { store: free[0]![0], parcels: "1" }])}>
        Add a shop
      </Button>
    </div>
  );
}

/** Returns the body of the request; what was left empty is left out. */
export function bodyOf(fields: Record<string, string>, mall: string, store: string, level: string, more: readonly ShopPart[] = []): unknown {
  const text = (name: string): Record<string, string> => {
    const value = fields[name]?.trim();
    return value ? { [name]: value } : {};
  };
  const number = (name: string): number | string => {
    const value = fields[name]?.trim() ?? "";
    // What is no number goes as it is: the engine says what is wrong with it.
    return value !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
  };
  const deadline = fields["deadline"] ? { deadline: new Date(fields["deadline"]).toISOString() } : {};
  return {
    ...text("external_id"),
    pickup: { mall, stores: [{ store, parcels: number("parcels") }, ...more.map((it) => ({ store: it.store, parcels: Number(it.parcels) }))] },
    dropoff: { lat: number("lat"), lon: number("lon"), ...text("address"), ...text("name"), ...text("contact"), ...text("note"), ...deadline },
    parcels: { count: more.reduce((sum, it) => sum + Number(it.parcels), Number(number("parcels"))) },
    ...(level ? { service_level: level } : {}),
  };
}

/** An instant as a `datetime-local` input writes it. */
function local(ms: number): string {
  const at = new Date(ms);
  at.setMinutes(at.getMinutes() - at.getTimezoneOffset());
  return at.toISOString().slice(0, 16);
}
