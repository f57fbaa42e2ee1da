/** A driver app of one screen: go online, take an offer, report the steps. No phone has run it. */

import type { HeldJob, OfferMessage, Step } from "@mallard/client";
import { RequestRefused } from "@mallard/client";
import { useEffect, useMemo, useState } from "react";
import { Alert, Button, SafeAreaView, ScrollView, Text, View } from "react-native";
import { type FetchToken, makeDriver, useDriver } from "./driver";

const NEXT: Record<string, Step> = {
  assigned: "at_mall",
  at_mall: "picked_up",
  picked_up: "delivered",
  returning: "returned",
};

export default function App({ url, fetchToken }: { url: string; fetchToken: FetchToken }) {
  const app = useDriver(useMemo(() => makeDriver(url, fetchToken), [url, fetchToken]));
  const { offer, queued } = app;

  async function go(wish: "available" | "paused"): Promise<void> {
    try {
      await app.status(wish);
    } catch (error) {
      Alert.alert(error instanceof RequestRefused ? error.code : "No answer; trying on");
    }
  }

  return (
    <SafeAreaView>
      <ScrollView>
        <Text>{app.connected ? app.state : "offline: what you report is kept"}</Text>
        {app.barred !== null && <Text>no offers now: {app.barred.why}</Text>}
        <Button title="Go online" onPress={() => void go("available")} />
        <Button title="Take a break" onPress={() => void go("paused")} />
        {offer !== null && <Offered offer={offer} app={app} />}
        {[...app.jobs.values()].map((job) => (
          <Held key={job.job} job={job} report={(step) => void app.progress(job.job, step)} />
        ))}
        {queued.map(({ job, step, at_ms }) => (
          <Text key={`${job} ${step} ${at_ms}`}>waiting to be sent: {step}</Text>
        ))}
      </ScrollView>
    </SafeAreaView>
  );
}

function Offered({ offer, app }: { offer: OfferMessage; app: ReturnType<typeof makeDriver> }) {
  const [left, setLeft] = useState(app.secondsLeft(offer));
  useEffect(() => {
    const timer = setInterval(() => setLeft(app.secondsLeft(offer)), 250);
    return () => clearInterval(timer);
  }, [app, offer]);
  const answer = (call: Promise<unknown>): void => {
    call.catch(() => Alert.alert("The offer is over"));
  };
  return (
    <View>
      <Text>
        {offer.mall.name}, {Math.round(offer.distance_m / 100) / 10} km: {Math.ceil(left)} s
      </Text>
      <Button title="Accept" onPress={() => answer(app.accept(offer))} />
      <Button title="Decline" onPress={() => answer(app.decline(offer))} />
    </View>
  );
}

function Held({ job, report }: { job: HeldJob; report: (step: Step) => void }) {
  const step = NEXT[job.state];
  return (
    <View>
      <Text>{job.detail.stores.map(({ name, parcels }) => `${name}: ${parcels}`).join(", ")}</Text>
      <Text>{job.detail.dropoff.address ?? "no address"}</Text>
      {step !== undefined && <Button title={step} onPress={() => report(step)} />}
    </View>
  );
}
