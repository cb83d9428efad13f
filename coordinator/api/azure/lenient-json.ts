/**
 * JSON as Azure's clients and samples write it: trailing commas, names in any case and in both spellings
 * (`miniBatchSize`, `MiniBatchSize`, `mini_batch_size`), numbers and booleans as text.
 * @source Azure/azureml-examples, cli/batch-score-rest.sh; azure-ai-ml's wire models
 */
import json5 from 'json5';
import { BatchError } from '../../../common/core/batch-error.ts';

/** Strict JSON first: it is quicker, and says what is wrong as everywhere else. @throws REQUEST_INVALID */
export function parseLenient(text: string): unknown {
  if (text.trim() === '') return {};
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    const lenient = tryLenient(text);
    if (lenient !== undefined) return lenient.value;
    throw new BatchError('REQUEST_INVALID', `the body is not JSON: ${(error as Error).message}`, { cause: error });
  }
}

function tryLenient(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: json5.parse(text) };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** An object whose own names are Azure's; `path` is where it stands, for messages. */
export class Fields {
  readonly path: string;
  readonly #values = new Map<string, unknown>();
  readonly #written = new Map<string, string>();

  private constructor(path: string, value: object) {
    this.path = path;
    for (const [name, one] of Object.entries(value)) {
      // Azure's own writers put null where nothing is said.
      if (one === null || one === undefined) continue;
      this.#values.set(folded(name), one);
      this.#written.set(folded(name), name);
    }
  }

  /** Null and nothing are an object without fields. @throws REQUEST_INVALID */
  static of(value: unknown, path: string): Fields {
    if (value === undefined || value === null) return new Fields(path, {});
    if (typeof value === 'object' && !Array.isArray(value)) return new Fields(path, value);
    throw invalid(path, 'an object', value);
  }

  has(name: string): boolean {
    return this.#values.has(folded(name));
  }

  get(name: string): unknown {
    return this.#values.get(folded(name));
  }

  object(name: string): Fields {
    return Fields.of(this.get(name), this.#at(name));
  }

  /** Whose names are the caller's and stay as they are written. @throws REQUEST_INVALID */
  entries(name: string): readonly (readonly [string, unknown])[] {
    const value = this.get(name);
    if (value === undefined) return [];
    if (typeof value !== 'object' || Array.isArray(value) || value === null)
      throw invalid(this.#at(name), 'an object', value);
    return Object.entries(value);
  }

  /** @throws REQUEST_INVALID */
  text(name: string): string | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (typeof value === 'string') return value;
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    throw invalid(this.#at(name), 'text', value);
  }

  /** A number, or text that is one. @throws REQUEST_INVALID */
  whole(name: string): number | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    const number = typeof value === 'string' && /^\s*-?\d{1,15}\s*$/.test(value) ? Number(value) : value;
    if (typeof number === 'number' && Number.isSafeInteger(number)) return number;
    throw invalid(this.#at(name), 'a whole number', value);
  }

  /** Names with texts; other plain values become text. @throws REQUEST_INVALID */
  texts(name: string): Readonly<Record<string, string>> {
    return Object.fromEntries(
      this.entries(name).map(([key, value]) => {
        if (value === null || typeof value === 'object') throw invalid(`${this.#at(name)}.${key}`, 'text', value);
        return [key, String(value)];
      }),
    );
  }

  /** @throws REQUEST_INVALID naming the fields that are none of these */
  refuseOthers(...known: readonly string[]): void {
    const names = new Set(known.map(folded));
    const others = [...this.#written].filter(([key]) => !names.has(key)).map(([, name]) => name);
    if (others.length === 0) return;
    const text = `${this.path} has ${others.join(', ')}, which is nothing here; it may have ${known.join(', ')}`;
    throw new BatchError('REQUEST_INVALID', text);
  }

  #at(name: string): string {
    const written = this.#written.get(folded(name)) ?? name;
    return this.path === '' ? written : `${this.path}.${written}`;
  }
}

export function folded(name: string): string {
  return name.replaceAll('_', '').toLowerCase();
}

export function invalid(path: string, wanted: string, found: unknown): BatchError {
  const shown = JSON.stringify(found) ?? 'nothing';
  const cut = shown.length > 100 ? `${shown.slice(0, 100)}…` : shown;
  return new BatchError('REQUEST_INVALID', `${path}: wanted ${wanted}, found ${cut}`);
}
