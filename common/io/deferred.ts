/** A promise with its handles outside: what Promise.withResolvers gives from Node 22 on. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  // Whoever awaits it hears of a rejection; one that nobody awaits is no unhandled one.
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}
