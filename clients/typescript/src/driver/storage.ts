/** The persistent storage of a driver app. */

/**
 * Stores one small document of text (a few kilobytes, with delivery codes in it).
 *
 * With a synchronous `save` a kill of the app right after a report loses nothing. What either call
 * throws is reported to `onError`, and the client continues without the storage.
 */
export interface Storage {
  load(): string | null | undefined | Promise<string | null | undefined>;
  save(document: string): void | Promise<void>;
}

/** In memory: for tests, and for apps that restart their client. */
export class MemoryStorage implements Storage {
  document: string | null = null;

  load(): string | null {
    return this.document;
  }

  save(document: string): void {
    this.document = document;
  }
}

/** A browser's `localStorage`: synchronous, so that a killed tab loses nothing. */
export class WebStorage implements Storage {
  constructor(
    private readonly key = "mallard.driver",
    private readonly area: Pick<globalThis.Storage, "getItem" | "setItem"> = localStorage,
  ) {}

  load(): string | null {
    return this.area.getItem(this.key);
  }

  save(document: string): void {
    this.area.setItem(this.key, document);
  }
}

/** What this package uses of React Native's AsyncStorage. */
export interface AsyncStorageLike {
  getItem(key: string): Promise<string | null>;
  setItem(key: string, value: string): Promise<void>;
}

/** React Native's AsyncStorage, or anything of its shape. */
export class AsyncStorage implements Storage {
  constructor(
    private readonly area: AsyncStorageLike,
    private readonly key = "mallard.driver",
  ) {}

  load(): Promise<string | null> {
    return this.area.getItem(this.key);
  }

  save(document: string): Promise<void> {
    return this.area.setItem(this.key, document);
  }
}

/** IndexedDB, which a service worker can use too. */
export class IndexedStorage implements Storage {
  private opening?: Promise<IDBDatabase>;

  constructor(private readonly name = "mallard") {}

  async load(): Promise<string | null> {
    const found = await this.run("readonly", (store) => store.get("driver"));
    return typeof found === "string" ? found : null;
  }

  async save(document: string): Promise<void> {
    await this.run("readwrite", (store) => store.put(document, "driver"));
  }

  private async run(
    mode: IDBTransactionMode,
    ask: (store: IDBObjectStore) => IDBRequest,
  ): Promise<unknown> {
    this.opening ??= this.open();
    const database = await this.opening;
    return new Promise((resolve, reject) => {
      const transaction = database.transaction("documents", mode);
      const request = ask(transaction.objectStore("documents"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  }

  private open(): Promise<IDBDatabase> {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open(this.name, 1);
      request.onupgradeneeded = () => request.result.createObjectStore("documents");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }
}
