/** Bodies of Azure's data plane, in the ways that its clients and samples write them. */
import { describe, expect, test } from 'vitest';
import { invocationOf } from '../../coordinator/api/azure/azure-request.ts';
import { parseLenient } from '../../coordinator/api/azure/lenient-json.ts';
import { failing } from '../helpers/failing.ts';

const of = (text: string, header?: string): unknown => invocationOf(parseLenient(text), header);
const properties = (fields: unknown): unknown => invocationOf({ properties: fields }, undefined);
const input = { InputData: { any: { JobInputType: 'UriFolder', Uri: '/in' } } };

describe('what it takes', () => {
  test('Pascal case with trailing commas and numbers as text', () => {
    const body = `{
      "properties": {
        "InputData": { "heart-Data": { "JobInputType": "UriFolder", "Uri": "https://a.blob.core.windows.net/c/in", }, },
        "OutputData": { "score": { "JobOutputType": "UriFile", "Uri": "azureml://datastores/out/paths/a/b.csv" } },
        "MiniBatchSize": "5", "errorThreshold":"10", "MaxConcurrencyPerInstance": "4", "LoggingLevel": "Info",
        "RetrySettings": { "MaxRetries": "2", "Timeout": "PT1M30S" }, "compute": { "InstanceCount": "3", },
        "environmentVariables": { "Batch_Size": 16 },
      },
    }`;
    expect(of(body, 'blue')).toEqual({
      deployment_name: 'blue',
      inputs: { 'heart-Data': { type: 'uri_folder', path: 'https://a.blob.core.windows.net/c/in' } },
      outputs: { score: { type: 'uri_file', path: 'azureml://datastores/out/paths/a/b.csv' } },
      overrides: {
        mini_batch_size: 5,
        error_threshold: 10,
        max_concurrency_per_instance: 4,
        logging_level: 'info',
        max_retries: 2,
        timeout: 90,
        instance_count: 3,
        environment_variables: { Batch_Size: '16' },
      },
    });
  });

  test('camel case, as the SDK sends it, with what clients send back and nulls', () => {
    const sent = {
      inputData: { input: { jobInputType: 'uriFile', uri: 'azureml:images:3', mode: null } },
      outputDataset: {
        datastoreId: '/subscriptions/s/resourceGroups/r/providers/p/datastores/mine',
        path: '/to/there',
      },
      outputFileName: 'rows.csv',
      miniBatchSize: 20,
      retrySettings: { maxRetries: 3, timeout: 'PT30S' },
      ...{ status: 'NotStarted', provisioningState: null, partitionKeys: [], interactionEndpoints: {} },
      ...{ name: 'my-job', displayName: 'Mine', description: 'why', tags: { Team: 'mail', n: 1 } },
      properties: { experimentName: 'trial', Other: 'kept' },
    };
    expect(properties(sent)).toEqual({
      inputs: { input: { type: 'uri_file', path: 'azureml:images:3' } },
      outputs: { score: { type: 'uri_folder', path: 'azureml://datastores/mine/paths/to/there' } },
      overrides: { output_file_name: 'rows.csv', mini_batch_size: 20, max_retries: 3, timeout: 30 },
      ...{ job_name: 'my-job', display_name: 'Mine', description: 'why', experiment_name: 'trial' },
      tags: { Team: 'mail', n: '1' },
      properties: { Other: 'kept' },
    });
  });

  test('snake case, and the flat names of one sample', () => {
    const sent = { input_data: { a: { uri: '/in' } }, instance_count: 2, max_retries: 1, mini_batch_size: '64MB' };
    expect(properties(sent)).toEqual({
      inputs: { a: { type: 'uri_folder', path: '/in' } },
      overrides: { instance_count: 2, max_retries: 1, mini_batch_size: '64MB' },
    });
  });

  test.each([
    [{ dataInputType: 'DataUrl', Path: 'https://a.blob.core.windows.net/c/d' }, 'https://a.blob.core.windows.net/c/d'],
    [{ DataInputType: 'DatasetVersion', datasetName: 'd', DatasetVersion: 7 }, 'azureml:d:7'],
    [
      { dataInputType: 'DatasetId', datasetId: '/subscriptions/s/resourceGroups/r/x/data/d/versions/1' },
      '/subscriptions/s/resourceGroups/r/x/data/d/versions/1',
    ],
    [{ path: '/in' }, '/in'],
  ])('the older dataset %j', (dataset, path) => {
    expect(properties({ dataset })).toEqual({ inputs: { input: { type: 'uri_folder', path } } });
  });

  test.each([
    ['cpu-cluster', 'cpu-cluster'],
    ['azureml:cpu-cluster', 'cpu-cluster'],
    ['/subscriptions/s/resourceGroups/r/providers/p/workspaces/w/computes/cpu-cluster', 'cpu-cluster'],
    [{ target: 'azureml:gpu', instanceCount: 2 }, 'gpu'],
  ])('compute %j', (compute, name) => {
    expect(properties({ ...input, compute })).toMatchObject({ compute: name });
  });

  test.each([
    ['PT30S', 30],
    ['PT1H', 3_600],
    ['P1DT1S', 86_401],
    ['PT0.5S', 0.5],
    ['45', 45],
    [45, 45],
  ])('a timeout of %j', (timeout, seconds) => {
    expect(properties({ ...input, retrySettings: { timeout } })).toMatchObject({ overrides: { timeout: seconds } });
  });
});

describe('what it refuses, by the name that was written', () => {
  test.each([
    ['{"properties": {', 'the body is not JSON'],
    ['[]', 'the body: wanted an object, found []'],
    ['{"properties": 1}', 'properties: wanted an object, found 1'],
    ['{}', 'inputData: wanted exactly one input of data, found none'],
    ['{"properties": {"InputData": {"a": {"Uri": "/a"}, "b": {"Uri": "/b"}}}}', 'found a, b'],
    [
      '{"properties": {"InputData": {"a": {"JobInputType": "Literal", "Value": 5}}}}',
      'inputData.a: literals are inputs',
    ],
    ['{"properties": {"InputData": {"a": {"JobInputType": "mltable", "Uri": "/a"}}}}', 'wanted UriFolder or UriFile'],
    ['{"properties": {"InputData": {"a": {"JobInputType": "UriFile"}}}}', 'inputData.a.uri: wanted a text'],
    [
      '{"properties": {"dataset": {"dataInputType": "V1", "path": "/a"}}}',
      'wanted DataUrl, DatasetId or DatasetVersion',
    ],
    ['{"properties": {"dataset": {"dataInputType": "DatasetVersion", "datasetName": "d"}}}', 'datasetVersion: wanted'],
  ])('%s', (body, reason) => {
    expect(() => of(body)).toThrow(failing('REQUEST_INVALID', reason));
  });

  test.each([
    [{ MiniBatchSiz: 5 }, 'properties has MiniBatchSiz, which is nothing here'],
    [{ ErrorThreshold: 'ten' }, 'properties.ErrorThreshold: wanted a whole number, found "ten"'],
    [{ errorThreshold: 1.5 }, 'errorThreshold: wanted a whole number, found 1.5'],
    [{ retrySettings: { timeout: 'P1M' } }, 'wanted a duration such as PT30S'],
    [{ retrySettings: { timeout: 'PT' } }, 'wanted a duration such as PT30S'],
    [{ partitionKeys: ['a'] }, 'partitionKeys: nothing here shares out by columns'],
    [{ tags: { a: {} } }, 'properties.tags.a: wanted text'],
    [{ outputData: { a: { uri: '/a' }, b: { uri: '/b' } } }, 'wanted at most one output, found a, b'],
    [{ outputFileName: {} }, 'outputFileName: wanted text'],
  ])('%j', (fields, reason) => {
    expect(() => properties({ ...input, ...fields })).toThrow(failing('REQUEST_INVALID', reason));
  });

  test('a name that is one of every object is a name like others', () => {
    expect(() => of('{"properties": {"__proto__": {"inputData": {"a": {"uri": "/a"}}}},}')).toThrow(
      failing('REQUEST_INVALID', '__proto__, which is nothing here'),
    );
    expect(({} as Record<string, unknown>)['inputData']).toBeUndefined();
  });
});
