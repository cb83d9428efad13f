/** What the types of a file's columns say of them, so that all parts of a file judge them alike, whatever their first values are. */
import type { ColumnType } from '../../common/format/column-type.ts';
import type { ColumnLook } from './table-columns.ts';

/** `typeOf`: null for values that have types of their own, which go into no input. */
export function typeLook(typeOf: (column: string) => ColumnType | null): ColumnLook {
  return {
    isList: (column) => typeOf(column)?.kind === 'list',
    suits: (column, type) => {
      switch (typeOf(column)?.kind) {
        case 'null':
        case 'int':
        case 'float':
          return true;
        case 'bool':
          return type !== 'string';
        case 'utf8':
          return type === 'string';
        default:
          return false;
      }
    },
  };
}
