/** Workloads that score data with a model, by the names that the command line takes. */
import { digits } from './digits.ts';
import { photos } from './photos.ts';
import { pythonTables } from './python-tables.ts';
import { tableCsv, tableParquet } from './tables.ts';
import type { Place, Workload } from './workload.ts';

export type Workloads = Readonly<Record<string, (place: Place) => Promise<Workload>>>;

export const dataWorkloads: Workloads = {
  digits,
  photos,
  'table-csv': tableCsv,
  'table-parquet': tableParquet,
  python: pythonTables,
};
