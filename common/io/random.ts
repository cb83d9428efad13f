/** The only place that draws at random; everything else is given `random`. */

/** From 0 to below 1; to spread retries in time, never for secrets. */
export const systemRandom = (): number => Math.random();
