/** Finds the smallest plan that still goes wrong, starting from that of a seed. */
import fc from 'fast-check';
import { planArbitrary, type Plan } from './plan.ts';
import { emptyAccount, playPlan } from './seeds.ts';

/** Plans that are tried at most. */
const triesMax = 2_000;

async function defectsOf(plan: Plan): Promise<readonly string[]> {
  const account = emptyAccount();
  await playPlan(plan, account, plan.seed, true);
  return account.violations.flatMap(({ texts }) => texts);
}

/** Prints it. Returns the exit code: 1 when the seed goes wrong. */
export async function shrink(seed: number): Promise<number> {
  let tries = 0;
  const property = fc.asyncProperty(planArbitrary, async (plan) => {
    tries += 1;
    if (tries > triesMax) return true;
    return (await defectsOf(plan)).length === 0;
  });
  const result = await fc.check(property, { seed, numRuns: 1 });
  const [plan] = result.counterexample ?? [];
  if (!plan) {
    console.log(`seed ${seed} goes well`);
    return 0;
  }
  console.log(JSON.stringify(plan, null, 1));
  console.log((await defectsOf(plan)).join('\n'));
  console.log(`the smallest of ${tries} plans that came from seed ${seed}`);
  return 1;
}
