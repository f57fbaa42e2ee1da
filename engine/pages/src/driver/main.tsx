import { Empty, LineBanner } from "../shared/components.tsx";
import { start } from "../shared/page.tsx";
import { SignedIn } from "../shared/sign-in.tsx";

start(
  <SignedIn title="Driver" roles={["driver"]} help={<code>mallard token driver NAME --link</code>}>
    <LineBanner />
    <main>
      <h1>Driver</h1>
      <Empty title="Nothing here yet" />
    </main>
  </SignedIn>,
);
