/** Starts the driver app for a driver who is signed in. */

import { start } from "../shared/page.tsx";
import { SignedIn } from "../shared/sign-in.tsx";
import { ignoreDoubleTaps } from "../shared/taps.ts";
import { installWorker } from "./device.ts";
import { Driver } from "./driver.tsx";
import "./driver.css";

start(
  <SignedIn
    title="Driver"
    roles={["driver"]}
    help={
      <>
        Open the link from your operator, or paste a token. Operators: <code>mallard token driver NAME --market MARKET --link</code>
      </>
    }
  >
    <Driver />
  </SignedIn>,
);
ignoreDoubleTaps();
void installWorker();
