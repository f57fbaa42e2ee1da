/** The counter of a shop: who comes for what and when, and what the shop says of it. */

import { useEffect, useMemo } from "preact/hooks";
import { session } from "../shared/session.ts";
import { start } from "../shared/page.tsx";
import { SignedIn } from "../shared/sign-in.tsx";
import { ignoreDoubleTaps } from "../shared/taps.ts";
import { Counter } from "./counter.ts";
import { CounterView } from "./view.tsx";
import "./shop.css";

function Signed() {
  const signed = session.value;
  const counter = useMemo(() => (signed ? new Counter(signed) : null), [signed]);
  useEffect(() => {
    counter?.start();
    return () => counter?.stop();
  }, [counter]);
  if (signed === null || counter === null) return null;
  return <CounterView counter={counter} session={signed} />;
}

start(
  <SignedIn
    title="Counter"
    roles={["store"]}
    help={
      <>
        Ask your dispatcher for a link or a token for this shop:{" "}
        <code class="breaks">mallard token store NAME --mall M --store S --link</code>
      </>
    }
  >
    <Signed />
  </SignedIn>,
);
ignoreDoubleTaps();
