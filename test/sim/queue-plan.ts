/** Which other jobs a plan has, and whose turn it is among them; what they are is in `rivals.ts`. */
import fc from 'fast-check';

export interface RivalPlan {
  readonly owner: string;
  readonly priority: number;
  readonly files: number;
  readonly perBatch: number;
  /** When it is submitted. */
  readonly atMs: number;
  /** Whether it is of the endpoint. */
  readonly isLimited: boolean;
}

export interface QueuePlan {
  /** Of the job itself. */
  readonly priority: number;
  readonly isLimited: boolean;
  /** Jobs of the endpoint that may run at once; null: any number. */
  readonly limit: number | null;
  readonly rivals: readonly RivalPlan[];
}

const priority = fc.constantFrom(-1, 0, 0, 1);

export const queueArbitrary: fc.Arbitrary<QueuePlan | null> = fc.oneof(
  { weight: 2, arbitrary: fc.constant(null) },
  {
    weight: 1,
    arbitrary: fc.record({
      priority,
      isLimited: fc.boolean(),
      limit: fc.constantFrom(null, 1, 1, 2),
      rivals: fc.array(
        fc.record({
          owner: fc.constantFrom('ann', 'bob', 'cid'),
          priority,
          files: fc.integer({ min: 1, max: 40 }),
          perBatch: fc.constantFrom(1, 1, 2, 5),
          atMs: fc.constantFrom(0, 0, 500, 3_000, 3_000, 10_000),
          isLimited: fc.boolean(),
        }),
        { minLength: 1, maxLength: 4, size: 'max' },
      ),
    }),
  },
);
