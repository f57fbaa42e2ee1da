/** The names of a market's malls and shops, which orders know by their ids alone. */

import { placeName } from "../../shared/words.ts";
import type { Market } from "./types.ts";

export interface Names {
  mall(id: string): string;
  shop(mall: string, id: string): string;
}

/** Return the names of a market's places; an id that the market does not have is put in words. */
export function namesOf(market: Market): Names {
  const malls = new Map(market.malls.map((mall) => [mall.id, mall]));
  const shops = new Map(market.malls.flatMap((mall) => mall.stores.map((shop) => [`${mall.id}/${shop.id}`, shop.name])));
  return {
    mall: (id) => malls.get(id)?.name ?? placeName(id),
    shop: (mall, id) => shops.get(`${mall}/${id}`) ?? placeName(id),
  };
}
