/**
 * `--set`, `--add` and `--remove` of the update verbs: changes to a JSON value at dotted keys.
 * @source Azure CLI, generic update arguments
 */
import { parseDocument } from 'yaml';
import { BatchError } from '../common/core/batch-error.ts';

export interface Edits {
  /** `a.b=value` */
  readonly set: readonly string[];
  /** The words of each `--add`: a key, then what is added. */
  readonly add: readonly (readonly string[])[];
  /** The words of each `--remove`: a key, and perhaps the index in a list. */
  readonly remove: readonly (readonly string[])[];
  /** Values are text, whatever they look like. */
  readonly isForcedText: boolean;
}

type Json = Record<string, unknown>;

/** A copy with the changes, in the order of the kinds above. @throws USAGE for a change that does not fit */
export function applyEdits(value: unknown, edits: Edits): unknown {
  const root = structuredClone(value) as Json;
  for (const one of edits.set) set(root, one, edits.isForcedText);
  for (const words of edits.add) add(root, words, edits.isForcedText);
  for (const words of edits.remove) remove(root, words);
  return root;
}

function set(root: Json, text: string, isForcedText: boolean): void {
  const [, path = '', value = ''] = /^([^=]*)=([\s\S]*)$/.exec(text) ?? [];
  const keys = keysOf(path);
  if (!text.includes('=') || keys.length === 0) {
    throw new BatchError('USAGE', `--set ${text}: wanted key=value with a dotted key, such as tags.team=vision`);
  }
  const last = keys.at(-1) as string;
  const parent = open(root, keys.slice(0, -1), `--set ${path}`);
  const set: unknown = isForcedText ? value : plain(value);
  if (Array.isArray(parent)) parent[indexIn(parent, last, `--set ${path}`)] = set;
  else parent[last] = set;
}

function add(root: Json, [path = '', ...words]: readonly string[], isForcedText: boolean): void {
  const what = `--add ${path}`;
  const keys = keysOf(path);
  if (keys.length === 0 || words.length === 0) {
    throw new BatchError('USAGE', `${what}: wanted a key and what is added, such as --add tags team=vision`);
  }
  const parent = open(root, keys.slice(0, -1), what);
  const last = keys.at(-1) as string;
  const target = Array.isArray(parent) ? parent[indexIn(parent, last, what)] : parent[last];
  if (Array.isArray(target)) {
    target.push(...words.map((word) => (isForcedText ? word : plain(word))));
    return;
  }
  const map = open(root, keys, what) as Json;
  for (const word of words) {
    const [, key, value = ''] = /^([^=]+)=([\s\S]*)$/.exec(word) ?? [];
    if (key === undefined) throw new BatchError('USAGE', `${what}: wanted key=value, found ${JSON.stringify(word)}`);
    map[key] = isForcedText ? value : plain(value);
  }
}

function remove(root: Json, [path = '', index]: readonly string[]): void {
  const what = `--remove ${path}`;
  const keys = index === undefined ? keysOf(path) : [...keysOf(path), index];
  const last = keys.at(-1);
  if (last === undefined) throw new BatchError('USAGE', '--remove: wanted a key, such as --remove tags.team');
  const parent = open(root, keys.slice(0, -1), what);
  if (Array.isArray(parent)) parent.splice(indexIn(parent, last, what), 1);
  else if (Object.hasOwn(parent, last)) Reflect.deleteProperty(parent, last);
  else throw new BatchError('USAGE', `${what}: there is no such key`);
}

/** What stands at `keys`; mappings that are missing are made. */
function open(root: Json, keys: readonly string[], what: string): Json | unknown[] {
  let value: Json | unknown[] = root;
  for (const key of keys) {
    const inner: unknown = Array.isArray(value) ? value[indexIn(value, key, what)] : (value[key] ??= {});
    if (typeof inner !== 'object' || inner === null) {
      throw new BatchError('USAGE', `${what}: ${key} is ${JSON.stringify(inner)} and has no keys below it`);
    }
    value = inner as Json | unknown[];
  }
  return value;
}

/** `a.b[0]` as `a`, `b`, `0`. */
function keysOf(path: string): readonly string[] {
  const keys = path.replaceAll(/\[(-?\d+)\]/g, '.$1').split('.');
  if (keys.some((key) => ['__proto__', 'constructor', 'prototype'].includes(key))) return [];
  return keys.every((key) => key !== '') ? keys : [];
}

/** Negative ones count from the end. */
function indexIn(list: readonly unknown[], text: string, what: string): number {
  const index = Number(text) < 0 ? list.length + Number(text) : Number(text);
  if (Number.isInteger(index) && index >= 0 && index < list.length) return index;
  throw new BatchError('USAGE', `${what}: the list has ${list.length} items, and no item ${text}`);
}

/** A number, a truth value, `null`, `{…}`, `[…]` or a quoted text as YAML has them; anything else is text. */
function plain(text: string): unknown {
  const document = parseDocument(text, { prettyErrors: false });
  if (document.errors.length > 0 || text.trim() === '') return text;
  const value: unknown = document.toJS();
  return typeof value === 'string' && !/^\s*["']/.test(text) ? text : isBare(value, text) ? value : text;
}

/** `a: b` is a mapping in YAML, and text here. */
function isBare(value: unknown, text: string): boolean {
  return typeof value !== 'object' || value === null || /^\s*[[{]/.test(text);
}
