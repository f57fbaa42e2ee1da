/** One driver's client for the life of the app, and React's view of it. */

import AsyncStorageModule from "@react-native-async-storage/async-storage";
import Geolocation from "@react-native-community/geolocation";
import { AsyncStorage, DriverClient } from "@mallard/client";
import { useEffect, useReducer } from "react";
import { AppState } from "react-native";

/** Fetch a token from your own backend, which knows the driver's session. */
export type FetchToken = () => Promise<string>;

export function makeDriver(url: string, fetchToken: FetchToken): DriverClient {
  return new DriverClient(url, fetchToken, {
    vehicle: { kind: "car" },
    app: { name: "example", version: "0.0.0" },
    storage: new AsyncStorage(AsyncStorageModule),
  });
}

/** Start the client, feed it positions, and tell it when the app comes to the front. */
export function useDriver(app: DriverClient): DriverClient {
  const [, render] = useReducer((n: number) => n + 1, 0);

  useEffect(() => {
    const unsubscribe = app.onEvent(render);
    app.start();
    const watch = Geolocation.watchPosition(
      (position) => app.position(position),
      () => undefined,
      { enableHighAccuracy: true, interval: app.locationMs, distanceFilter: 0 },
    );
    const state = AppState.addEventListener("change", (next) => {
      // In the background a phone suspends sockets. While a background task runs, HTTP carries
      // positions and steps; what comes in between is kept.
      if (next === "background") app.suspend();
      if (next === "active") {
        app.resume();
        app.networkIsBack();
      }
    });
    return () => {
      unsubscribe();
      Geolocation.clearWatch(watch);
      state.remove();
      void app.stop();
    };
  }, [app]);

  return app;
}
