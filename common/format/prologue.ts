/** Bytes that stand once before the first row of an output. */
import type { ResultSchema } from '../core/result.ts';

/** As they stand in the file; empty without a schema. */
export function prologueBytes(schema: ResultSchema | undefined): Uint8Array {
  if (schema === undefined) return new Uint8Array(0);
  return Buffer.from(schema.prologue, schema.prologueForm === 'base64' ? 'base64' : 'utf8');
}

/** A schema whose prologue is bytes. */
export function binarySchema(columns: readonly string[], prologue: Uint8Array): ResultSchema {
  return { columns, prologue: Buffer.from(prologue).toString('base64'), prologueForm: 'base64' };
}
