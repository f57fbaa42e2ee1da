/** One operation or message: what it takes, what it answers, and the schemas behind both. */

import { Badge } from "../shared/components.tsx";
import { boundsOf, refersTo, typeOf, type Entry, type Operation, type Schema } from "./documents.ts";

type Schemas = Record<string, Schema>;

export function EntryView({ entry, schemas }: { entry: Entry; schemas: Schemas }) {
  return (
    <article class="docs-article">
      <a class="docs-back" href="#">
        ← All operations
      </a>
      <header>
        <p class="muted">{entry.group}</p>
        <h2 class="breaks">
          <span class={`docs-kind docs-kind-${entry.kind.toLowerCase()}`}>{entry.kind}</span>{" "}
          <code>{entry.label}</code>
        </h2>
        <p>
          <Prose text={entry.summary} />
        </p>
      </header>
      {entry.operation && <OperationView operation={entry.operation} schemas={schemas} />}
      {entry.message?.description && <Described text={entry.message.description} />}
      {entry.message?.payload && (
        <SchemaTree title="Fields" schema={entry.message.payload} schemas={schemas} />
      )}
    </article>
  );
}

function OperationView({ operation, schemas }: { operation: Operation; schemas: Schemas }) {
  const roles = (operation.security ?? []).flatMap((it) => it["bearer"] ?? []);
  const body = Object.entries(operation.requestBody?.content ?? {})[0];
  const answers = Object.entries(operation.responses);
  const good = answers.find(([status]) => status.startsWith("2"));
  const goodSchema = Object.values(good?.[1].content ?? {})[0]?.schema;
  return (
    <>
      {operation.description && <Described text={operation.description} />}
      <p class="docs-roles">
        <span class="muted">Token:</span>
        {roles.length > 0 ? roles.map((it) => <Badge key={it}>{it}</Badge>) : "none needed"}
      </p>
      {(operation.parameters ?? []).length > 0 && (
        <section>
          <h3>Parameters</h3>
          <dl class="docs-fields">
            {operation.parameters?.map((it) => (
              <div key={`${it.in} ${it.name}`}>
                <dt>
                  <code>{it.name}</code>
                  <span class="muted small">
                    {it.in}
                    {it.required ? ", required" : ""}
                  </span>
                </dt>
                <dd>
                  <Type schema={it.schema ?? {}} />
                  {it.description && <Described text={it.description} />}
                </dd>
              </div>
            ))}
          </dl>
        </section>
      )}
      {body?.[1].schema && (
        <SchemaTree title={`Body (${body[0]})`} schema={body[1].schema} schemas={schemas} />
      )}
      {good && goodSchema && (
        <SchemaTree title={`Answer ${good[0]}`} schema={goodSchema} schemas={schemas} />
      )}
      <section>
        <h3>Answers</h3>
        <dl class="docs-fields">
          {answers.map(([status, { description }]) => (
            <div key={status}>
              <dt>
                <Badge tone={status < "300" ? "ok" : status < "400" ? "info" : "warn"}>{status}</Badge>
              </dt>
              <dd>
                <Prose text={description} />
              </dd>
            </div>
          ))}
        </dl>
      </section>
    </>
  );
}

/** A schema with every schema that it refers to, each once. */
function SchemaTree({ title, schema, schemas }: { title: string; schema: Schema; schemas: Schemas }) {
  const names: string[] = [];
  const pending = refersTo(schema);
  while (pending.length > 0) {
    const name = pending.shift();
    if (name === undefined || names.includes(name)) continue;
    names.push(name);
    pending.push(...refersTo(schemas[name] ?? {}));
  }
  const [first, ...rest] = names;
  const isNamed = schema.$ref !== undefined;
  return (
    <section>
      <h3>{title}</h3>
      {isNamed ? <SchemaView schema={schemas[first ?? ""] ?? {}} /> : <SchemaView schema={schema} />}
      {(isNamed ? rest : names).map((name) => (
        <details key={name}>
          <summary>
            <code>{name}</code>
          </summary>
          <SchemaView schema={schemas[name] ?? {}} />
        </details>
      ))}
    </section>
  );
}

function SchemaView({ schema }: { schema: Schema }) {
  const fields = Object.entries(schema.properties ?? {});
  if (fields.length === 0) return <Type schema={schema} />;
  return (
    <>
      {schema.description && <Described text={schema.description} />}
      <dl class="docs-fields">
        {fields.map(([name, field]) => (
          <div key={name}>
            <dt>
              <code>{name}</code>
              {schema.required?.includes(name) && <span class="muted small">required</span>}
            </dt>
            <dd>
              <Type schema={field} />
              {field.description && <Described text={field.description} />}
            </dd>
          </div>
        ))}
      </dl>
    </>
  );
}

function Type({ schema }: { schema: Schema }) {
  const bounds = boundsOf(schema);
  return (
    <p class="docs-type breaks">
      {typeOf(schema)}
      {bounds && <span class="muted"> · {bounds}</span>}
    </p>
  );
}

function Described({ text }: { text: string }) {
  return (
    <p class="docs-described">
      <Prose text={text} />
    </p>
  );
}

/** Text in which backquotes mark code. */
function Prose({ text }: { text: string }) {
  return <>{text.split("`").map((part, n) => (n % 2 ? <code key={n}>{part}</code> : part))}</>;
}
