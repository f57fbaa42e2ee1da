/** Starts the console for an operator who is signed in. */

import { start } from "../shared/page.tsx";
import { SignedIn } from "../shared/sign-in.tsx";
import { Console } from "./console.tsx";
import "./console.css";

start(
  <SignedIn
    title="Operations"
    roles={["operator"]}
    help={
      <>
        An operator’s token or a link: <code>mallard token operator NAME --link</code>
      </>
    }
  >
    <Console />
  </SignedIn>,
);
