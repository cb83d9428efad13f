/**
 * Takes the values of secrets out of what leaves the node as text: prints of user code, errors, lines about mini-batches.
 * It finds a value as it is; what user code makes of it (an encoding, a part of it) is user code's to say.
 */
import type { Failure } from '../common/core/batch-error.ts';
import { limits } from '../common/core/limits.ts';
import type { ScoreOutcome } from './pool/host-process.ts';

const stand = '***';

export class SecretMask {
  /** As they stand in bytes, one character each; the longest first, so that none leaves a piece of another. */
  readonly #values: readonly string[];
  readonly #texts: readonly string[];

  private constructor(texts: readonly string[]) {
    this.#texts = texts.toSorted((a, b) => b.length - a.length);
    this.#values = this.#texts.map((text) => Buffer.from(text).toString('latin1'));
  }

  /** Null when no value is long enough to be looked for. */
  static of(secrets: Readonly<Record<string, string>> | undefined): SecretMask | null {
    const texts = Object.values(secrets ?? {}).flatMap((value) => [value, value.trim()]);
    const long = [...new Set(texts)].filter((text) => text.length >= limits.secretMaskedCharsMin);
    return long.length === 0 ? null : new SecretMask(long);
  }

  text(text: string): string {
    return this.#texts.reduce((masked, value) => masked.replaceAll(value, stand), text);
  }

  failure({ code, message, detail }: Failure): Failure {
    return { code, message: this.text(message), detail: this.text(detail) };
  }

  /** Of a stream that comes in pieces. */
  stream(): MaskedStream {
    return new MaskedStream(this.#values);
  }
}

/** Keeps back the end of a piece while it may be the beginning of a value. */
export class MaskedStream {
  readonly #values: readonly string[];
  #held = '';

  constructor(values: readonly string[]) {
    this.#values = values;
  }

  push(chunk: Uint8Array): Uint8Array {
    const text = this.#masked(this.#held + Buffer.from(chunk).toString('latin1'));
    const kept = Math.max(...this.#values.map((value) => begunAtEnd(text, value)));
    this.#held = text.slice(text.length - kept);
    return Buffer.from(text.slice(0, text.length - kept), 'latin1');
  }

  /** What was kept back: nothing comes behind it for now. */
  flush(): Uint8Array {
    const rest = Buffer.from(this.#held, 'latin1');
    this.#held = '';
    return rest;
  }

  #masked(text: string): string {
    return this.#values.reduce((masked, value) => masked.replaceAll(value, stand), text);
  }
}

/** Whatever user code has said of its failures may have a secret in it. */
export function maskedOutcome(outcome: ScoreOutcome, mask: SecretMask): ScoreOutcome {
  if (outcome.kind === 'failed') return { ...outcome, failure: mask.failure(outcome.failure) };
  const failed = outcome.summary.failed.map((one) => ({ ...one, message: mask.text(one.message) }));
  return { ...outcome, summary: { ...outcome.summary, failed } };
}

/** How many characters at the end of `text` are the beginning of `value`. */
function begunAtEnd(text: string, value: string): number {
  const last = value.charAt(0);
  for (
    let at = text.indexOf(last, Math.max(0, text.length - value.length + 1));
    at >= 0;
    at = text.indexOf(last, at + 1)
  ) {
    if (value.startsWith(text.slice(at))) return text.length - at;
  }
  return 0;
}
