/** Waits for asynchronous work that needs no clock: turns of the event loop, as many as it takes, within a bound. */
const turnsMax = 20_000;

export async function turnsUntil(condition: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < turnsMax; turn += 1) {
    if (condition()) return;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  throw new Error(`waited ${turnsMax} turns in vain for ${what}`);
}

/** Enough turns for whatever is under way to have come to its end; for showing that nothing more happens. */
export async function quietTurns(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}
