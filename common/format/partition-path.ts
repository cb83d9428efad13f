/**
 * Folders of a partitioned output: `country=de/day=2024-02-29`, as Hive and Spark name them, so that pyarrow, pandas, DuckDB
 * and Spark read the values back.
 */

/** What stands for null, and for a text of no characters. @source Hive: hive.exec.default.partition.name */
export const nullPartition = '__HIVE_DEFAULT_PARTITION__';

/**
 * What a path may not have, or a reader of partitions takes for something else. Other characters stay as they are: of those
 * beyond ASCII some readers would make one character for each byte.
 * @source Hive: FileUtils.escapePathName; U+FFFD is taken for a name that is not UTF-8
 */
// eslint-disable-next-line no-control-regex -- they are in the list
const unsafe = /[\u0000-\u001f"#%'*/:=?\\\u007f{[\]^\ufffd]/g;

/** One level of folders. Null and '' have one name. */
export function partitionFolder(column: string, value: string | null): string {
  return `${escaped(column)}=${value === null || value === '' ? nullPartition : escaped(value)}`;
}

function escaped(text: string): string {
  return text.replace(unsafe, (symbol) =>
    Array.from(Buffer.from(symbol), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
}
