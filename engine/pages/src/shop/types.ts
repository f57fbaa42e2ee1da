/** What the engine says to a shop's counter, as far as the page shows it. */

export interface Driver {
  alias: string;
  vehicle: string | null;
}

export interface ShopEntry {
  store: string;
  state: string;
  parcels: number;
  collected_parcels?: number;
  ready_at?: string;
  pickup_code?: string;
}

export interface Pickup {
  id: string;
  state: string;
  stores: ShopEntry[];
  driver: Driver | null;
  eta: { pickup: string | null };
  external_id?: string;
}

export interface Return {
  id: string;
  state: string;
  parcels: number;
  code: string | null;
  driver: Driver | null;
  external_id?: string;
}

export interface Page<Item> {
  items: Item[];
  next_cursor: string | null;
}
