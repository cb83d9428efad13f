/**
 * What makes two failures the same one: the code and the first line of the message, with all that differs from file to
 * file taken out. Pure text work; what follows from it is for those who ask.
 */
import type { Failure } from './batch-error.ts';

/** A longer message adds nothing that tells failures apart. */
const signatureCharsMax = 200;

/** How a host ended says where it happened to be, not why: these are alike by their code. */
const alikeByCode: ReadonlySet<Failure['code']> = new Set<Failure['code']>([
  'SCORER_TIMEOUT',
  'SCORER_CRASHED',
  'SCORER_OUT_OF_MEMORY',
]);

/** Equal for failures that differ only in numbers, quoted texts, paths and names of files. */
export function errorSignature({ code, message }: Pick<Failure, 'code' | 'message'>): string {
  if (alikeByCode.has(code)) return code;
  const line = (message.split('\n', 1)[0] ?? '').slice(0, 4 * signatureCharsMax);
  const plain = line
    // An apostrophe within a word opens nothing.
    .replace(/(?<!\w)'[^']*'|"[^"]*"|`[^`]*`/g, '…')
    .replace(/(?:[A-Za-z]:)?(?:[\w.@%+~-]*[\\/])+[\w.@%+~-]*/g, '…')
    .replace(/\b[\w-]+\.[A-Za-z][A-Za-z0-9]{1,4}\b(?![.(])/g, '…')
    .replace(/\b0x[0-9a-fA-F]+\b|\d+(?:\.\d+)?(?:e[+-]?\d+)?/g, '#')
    .replace(/\s+/g, ' ')
    .trim();
  return `${code}: ${plain.slice(0, signatureCharsMax)}`;
}
