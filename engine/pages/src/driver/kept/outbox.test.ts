import { beforeEach, expect, test } from "vitest";
import { blobOf, Outbox, type Handover } from "./outbox.ts";

const IMAGE = `data:image/png;base64,${btoa("pixels")}`;
const AREA = new Map<string, string>();
const STORE = {
  getItem: (key: string) => AREA.get(key) ?? null,
  setItem: (key: string, value: string) => void AREA.set(key, value),
  removeItem: (key: string) => void AREA.delete(key),
};

function handover(job: string, proofs: Handover["proofs"]): Handover {
  return { job, step: "delivered", atMs: 1, proofs };
}

beforeEach(() => AREA.clear());

test("without an image the reports go at once, one for each proof", async () => {
  const reported: unknown[] = [];
  const outbox = new Outbox("k", () => Promise.reject(new Error("no line")), (it, proof) => reported.push([it.job, proof]), STORE);
  await outbox.add(handover("a", []));
  await outbox.add(handover("b", [{ kind: "age_checked" }, { kind: "code", value: "1234" }]));
  expect(reported).toEqual([["a", undefined], ["b", { kind: "age_checked" }], ["b", { kind: "code", value: "1234" }]]);
});

test("a photo waits for the line, over a kill of the tab, and is reported once", async () => {
  const reported: unknown[] = [];
  const before = new Outbox("k", () => Promise.reject(new Error("no line")), () => reported.push("too early"), STORE);
  await expect(before.add(handover("a", [{ kind: "photo", image: IMAGE }]))).rejects.toThrow("no line");
  const uploads: string[] = [];
  const upload = async (image: Blob): Promise<string> => `proof-${uploads.push(await image.text())}`;
  const after = new Outbox("k", upload, (it, proof) => reported.push([it.job, proof]), STORE);
  expect(after.waiting.value).toHaveLength(1);
  await Promise.all([after.send(), after.send()]);
  expect(uploads).toEqual(["pixels"]);
  expect(reported).toEqual([["a", { kind: "photo", value: "proof-1" }]]);
  expect(AREA.size).toBe(0);
});

test("a return that is not believed is said again, over a kill of the tab", async () => {
  const reported: unknown[] = [];
  const open = (): Outbox => new Outbox("k", async () => "", (it, proof) => reported.push([it.job, it.step, it.atMs, proof]), STORE);
  const before = open();
  await before.add({ job: "a", step: "returned", atMs: 5, proofs: [{ kind: "code", value: "12" }] });
  before.sayAgain(() => true, () => true);
  expect(reported).toHaveLength(1);
  before.returnSettled("a", "no_position");
  const after = open();
  expect(after.returns.value[0]?.isDoubted).toBe(true);
  after.sayAgain(() => true, () => false);
  expect(reported[1]).toEqual(["a", "returned", 5, { kind: "code", value: "12" }]);
  after.returnSettled("a", undefined);
  after.sayAgain(() => true, () => false);
  expect(reported).toHaveLength(2);
  expect(AREA.size).toBe(0);
});

test("a return is forgotten once refused or once the order is not on its way back", async () => {
  const outbox = new Outbox("k", async () => "", () => undefined, STORE);
  const back = (job: string): Promise<void> => outbox.add({ job, step: "returned", atMs: 5, proofs: [] });
  await back("a");
  outbox.returnSettled("a", "wrong_code");
  await back("b");
  outbox.sayAgain(() => false, () => false);
  expect(outbox.returns.value).toEqual([]);
});

test("what is kept is of no use when it cannot be read", () => {
  AREA.set("k", "{");
  expect(new Outbox("k", async () => "", () => undefined, STORE).waiting.value).toEqual([]);
  expect(blobOf(IMAGE).type).toBe("image/png");
});
