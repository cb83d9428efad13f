/** Names of files that user code writes to AZUREML_BI_OUTPUT_PATH: which of them can stand in an output folder. */
import { limits } from '../core/limits.ts';
import { differencesName } from '../core/shadow.ts';
import { isConfined } from './confine.ts';

/** At the top of an output folder these are Batchmill's, with whatever follows them. */
const reserved = /^_(SUCCESS|manifest|errors|logs|probe|attempts)/;

/** As {@link customPathDefect}, of files that worker nodes bring: to those of user code, the differences of a shadow. */
export function broughtPathDefect(path: string, outputFileName: string | null): string | null {
  return path === differencesName ? null : customPathDefect(path, outputFileName);
}

/**
 * Why a file of user code cannot be published under `path`, relative to the output folder; null when it can.
 * `outputFileName`: the file of rows, null when the job writes none.
 */
export function customPathDefect(path: string, outputFileName: string | null): string | null {
  // eslint-disable-next-line no-control-regex -- they break lists of names, one a line
  if (!isConfined(path) || /[\\\u0000-\u001f\u007f]/.test(path))
    return 'its name has a backslash or control characters';
  if (path.includes('\ufffd')) return 'its name is not UTF-8';
  if (Buffer.byteLength(path) > limits.customPathBytesMax) {
    return `its path is longer than ${limits.customPathBytesMax} bytes`;
  }
  const [top = ''] = path.split('/');
  if (top === outputFileName) return 'its name is that of the file of rows; choose another, or set output_file_name';
  return isOurs(top, outputFileName) ? 'names of this kind are Batchmill’s own' : null;
}

/** No name of ours has a `=` but that of the file of rows: others are folders of partitions, whatever their values are. */
function isOurs(top: string, outputFileName: string | null): boolean {
  if (top.includes('=')) return outputFileName !== null && top.startsWith(`${outputFileName}.`) && isPartial(top);
  return reserved.test(top) || top === differencesName || isPartial(top);
}

const isPartial = (top: string): boolean => top.endsWith('.partial');
