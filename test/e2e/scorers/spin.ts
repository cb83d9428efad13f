/** A model that takes SPIN_MS of a processor's time for each mini-batch, whatever its size, and never yields. */

const spinMs = Number(process.env['SPIN_MS']);

export function run(_paths: readonly string[], context: { readonly names: readonly string[] }): readonly string[] {
  const end = process.hrtime.bigint() + BigInt(spinMs) * 1_000_000n;
  while (process.hrtime.bigint() < end);
  return context.names;
}
