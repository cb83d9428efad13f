/** `--query`: JMESPath over an answer, as `az` has it. */
import { compile, TreeInterpreter, type JSONValue } from '@jmespath-community/jmespath';
import { BatchError } from '../common/core/batch-error.ts';
import { reasonOf } from '../common/io/errno.ts';

/** What the query makes of an answer; a plain JSON value. */
export type Select = (answer: unknown) => unknown;

/** @throws USAGE for text that is no JMESPath, and, when it is applied, for functions that do not fit the answer */
export function compileQuery(text: string): Select {
  const wrong = (error: unknown): BatchError =>
    new BatchError(
      'USAGE',
      `--query: ${JSON.stringify(text)} is not a JMESPath expression that fits: ${reasonOf(error)}`,
      {
        cause: error,
      },
    );
  const tree = attempt(() => compile(text, { enable_legacy_literals: true }), wrong);
  return (answer) => {
    // As it would be printed: without `undefined`, and with dates as text.
    const plain = JSON.parse(JSON.stringify(answer)) as JSONValue;
    return attempt(() => TreeInterpreter.search(tree, plain), wrong) ?? null;
  };
}

function attempt<T>(work: () => T, wrong: (error: unknown) => BatchError): T {
  try {
    return work();
  } catch (error) {
    throw wrong(error);
  }
}
