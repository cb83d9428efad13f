/** parquet-wasm, loaded when it is first needed: its 5 MB are compiled in some 50 ms. */
import { createRequire } from 'node:module';
import type * as Wasm from 'parquet-wasm';

export type ParquetLibrary = typeof Wasm;

const require = createRequire(import.meta.url);
let loaded: ParquetLibrary | null = null;

export function parquetLibrary(): ParquetLibrary {
  loaded ??= require('parquet-wasm') as ParquetLibrary;
  return loaded;
}

/** What a broken file leaves in its memory stays there, and after a panic is not to be trusted: the next has an instance of its own. */
export function forgetParquetLibrary(): void {
  loaded = null;
  delete require.cache[require.resolve('parquet-wasm')];
}
