-- Orders, attempts, refunds, and the evidence. The constraints below are the judge: Redis, a worker or a
-- bug may do what they like, and still no order has two captured attempts and no money is unrecorded.

CREATE TABLE merchants (
    id text PRIMARY KEY,
    name text NOT NULL,
    notify_url text,
    webhook_secrets bytea NOT NULL, -- encrypted JSON list: the first signs, all are sent
    surplus_refunds text NOT NULL DEFAULT 'auto' CHECK (surplus_refunds IN ('auto', 'held')),
    extend_for_slow_channels boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    hash bytea PRIMARY KEY, -- SHA-256 of a key with 256 random bits
    merchant text NOT NULL REFERENCES merchants,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz -- set on the old key when keys are rotated; null: no end
);

CREATE TABLE channel_accounts (
    id text PRIMARY KEY,
    merchant text NOT NULL REFERENCES merchants,
    kind text NOT NULL,
    settings jsonb NOT NULL,
    secrets bytea NOT NULL, -- encrypted JSON object
    priority integer NOT NULL DEFAULT 100,
    terminals text[] NOT NULL DEFAULT '{pc,wap,webview,app}',
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX channel_accounts_of_merchant ON channel_accounts (merchant, kind, priority);

-- Which moves exist at all. The journal has a foreign key to it, so an illegal move cannot commit.
CREATE TABLE legal_moves (
    noun text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    PRIMARY KEY (noun, from_state, to_state)
);
INSERT INTO legal_moves (noun, from_state, to_state) VALUES
('order', 'none', 'open'),
('order', 'open', 'paid'),
('order', 'open', 'closed'),
('attempt', 'none', 'created'),
('attempt', 'none', 'surplus'),
('attempt', 'created', 'paying'),
('attempt', 'created', 'captured'),
('attempt', 'created', 'surplus'),
('attempt', 'created', 'declined'),
('attempt', 'created', 'closed'),
('attempt', 'paying', 'captured'),
('attempt', 'paying', 'surplus'),
('attempt', 'paying', 'declined'),
('attempt', 'paying', 'closed'),
('attempt', 'declined', 'captured'),
('attempt', 'declined', 'surplus'),
('attempt', 'closed', 'captured'),
('attempt', 'closed', 'surplus'),
('refund', 'none', 'held'),
('refund', 'none', 'ready'),
('refund', 'none', 'done'),
('refund', 'held', 'ready'),
('refund', 'held', 'rejected'),
('refund', 'held', 'done'),
('refund', 'ready', 'sent'),
('refund', 'sent', 'done'),
('refund', 'sent', 'failed'),
('refund', 'failed', 'held'),
('refund', 'rejected', 'held');

CREATE TABLE orders (
    id text PRIMARY KEY,
    merchant text NOT NULL REFERENCES merchants,
    merchant_order_no text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    subject text NOT NULL,
    buyer_id text,
    items jsonb,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'paid', 'closed')),
    version bigint NOT NULL DEFAULT 1, -- the fencing token: every write that matters names it and raises it
    token text NOT NULL UNIQUE,
    amount_refunded bigint NOT NULL DEFAULT 0 CHECK (amount_refunded BETWEEN 0 AND amount),
    paid_attempt text,
    paid_attempt_state text GENERATED ALWAYS AS (
        CASE WHEN paid_attempt IS NOT NULL THEN 'captured' END
    ) STORED,
    fingerprint bytea, -- of the core fields, for the window in which the same purchase is refused
    expires_at timestamptz NOT NULL,
    due_at timestamptz, -- when expiry is looked at next; null: never again
    created_at timestamptz NOT NULL DEFAULT now(),
    paid_at timestamptz,
    closed_at timestamptz,
    close_reason text CHECK (close_reason IN ('merchant', 'expired')),
    notify_url text,
    return_url text,
    metadata jsonb,
    cause text NOT NULL DEFAULT 'merchant', -- of the last move; the journal copies it
    UNIQUE (merchant, merchant_order_no),
    CONSTRAINT paid_means_paid_by_an_attempt
    CHECK ((state = 'paid') = (paid_attempt IS NOT NULL) AND (state = 'paid') = (paid_at IS NOT NULL)),
    CONSTRAINT closed_says_why
    CHECK ((state = 'closed') = (close_reason IS NOT NULL) AND (state = 'closed') = (closed_at IS NOT NULL)),
    CONSTRAINT only_open_orders_are_due CHECK (state = 'open' OR due_at IS NULL)
);
CREATE INDEX orders_of_merchant ON orders (merchant, id DESC);
CREATE INDEX orders_due ON orders (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX orders_by_fingerprint ON orders (fingerprint, created_at) WHERE fingerprint IS NOT NULL;

CREATE TABLE attempts (
    id text PRIMARY KEY,
    order_id text NOT NULL REFERENCES orders,
    number text NOT NULL, -- what the channel sees as our order number
    sibling_of text REFERENCES attempts, -- other money under that attempt's number
    account text NOT NULL REFERENCES channel_accounts,
    channel text NOT NULL,
    product text NOT NULL,
    terminal text NOT NULL CHECK (terminal IN ('pc', 'wap', 'webview', 'app')),
    payer text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'created'
    CHECK (state IN ('created', 'paying', 'captured', 'surplus', 'declined', 'closed')),
    superseded boolean NOT NULL DEFAULT false,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    received_amount bigint CHECK (received_amount > 0),
    received_currency text,
    payment_ref text,
    parameters text NOT NULL, -- JSON, as sent: a repeat of create says the same bytes
    next_action text,
    next_action_until timestamptz,
    pay_by timestamptz NOT NULL,
    live_until timestamptz NOT NULL,
    calling_until timestamptz, -- who may call create is leased until then
    channel_ref text NOT NULL DEFAULT '', -- the channel's own id of it, from its answer to create
    capture_claimed_at timestamptz, -- since when a capture of ours may debit it; null: none can
    captures integer NOT NULL DEFAULT 0, -- captures that the channel refused; the next one's id follows
    ask_at timestamptz, -- when the channel is asked next; null: never again
    asks integer NOT NULL DEFAULT 0,
    needs_attention boolean NOT NULL DEFAULT false,
    cause text NOT NULL DEFAULT 'apply',
    evidence bigint, -- the raw callback behind the last move
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- What orders and refunds point at: so an order is paid by a captured attempt of its own, and a
    -- refund fixes the state of what it refunds.
    UNIQUE (id, order_id, state),
    CONSTRAINT money_is_recorded_when_it_is_there CHECK (
        (state IN ('captured', 'surplus')) = (payment_ref IS NOT NULL)
        AND (payment_ref IS NULL) = (received_amount IS NULL)
        AND (received_amount IS NULL) = (received_currency IS NULL)
    ),
    CONSTRAINT what_is_captured_is_the_price
    CHECK (state <> 'captured' OR (received_amount = amount AND received_currency = currency)),
    CONSTRAINT siblings_are_surplus CHECK (sibling_of IS NULL OR state = 'surplus')
);
-- An order is paid by one attempt.
CREATE UNIQUE INDEX one_captured_per_order ON attempts (order_id) WHERE state = 'captured';
-- A buyer is offered one attempt at a time.
CREATE UNIQUE INDEX one_offered_per_order ON attempts (order_id)
WHERE state IN ('created', 'paying') AND NOT superseded;
-- Where we decide when a buyer is debited, one attempt at a time can be.
CREATE UNIQUE INDEX one_capture_claim_per_order ON attempts (order_id)
WHERE capture_claimed_at IS NOT NULL AND state IN ('created', 'paying');
-- One payment at a channel is one row here, whoever reports it and how often.
CREATE UNIQUE INDEX one_row_per_payment ON attempts (account, payment_ref) WHERE payment_ref IS NOT NULL;
CREATE UNIQUE INDEX one_attempt_per_number ON attempts (account, number) WHERE sibling_of IS NULL;
CREATE INDEX attempts_of_order ON attempts (order_id);
CREATE INDEX attempts_to_ask ON attempts (ask_at, id) WHERE ask_at IS NOT NULL;
-- Whose parameters still name a person; as they are written, nobody's words can look like that.
CREATE INDEX attempts_that_name_somebody ON attempts (live_until) WHERE parameters LIKE '%"buyer":{"name"%';

ALTER TABLE orders ADD CONSTRAINT paid_by_one_of_its_attempts
FOREIGN KEY (paid_attempt, id, paid_attempt_state) REFERENCES attempts (id, order_id, state);

-- Who may decide about refunds that wait for a person, for every merchant of this gateway.
CREATE TABLE operators (
    id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    token_hash bytea NOT NULL UNIQUE, -- SHA-256 of a token with 256 random bits
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE refunds (
    id text PRIMARY KEY,
    order_id text NOT NULL REFERENCES orders,
    attempt_id text NOT NULL,
    account text NOT NULL REFERENCES channel_accounts,
    reason text NOT NULL CHECK (reason IN ('surplus', 'merchant')),
    -- The winner is never refunded by a machine: a surplus refund can only point at a surplus attempt.
    attempt_state text GENERATED ALWAYS AS (
        CASE reason WHEN 'surplus' THEN 'surplus' ELSE 'captured' END
    ) STORED,
    number text NOT NULL UNIQUE, -- what the channel sees as our refund number
    try integer NOT NULL DEFAULT 1 CHECK (try > 0), -- a part of the number; rises only from failed
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    state text NOT NULL CHECK (state IN ('held', 'ready', 'sent', 'done', 'failed', 'rejected')),
    check_at timestamptz, -- when the machine looks at it next; null: it has ended or waits for a person
    checks integer NOT NULL DEFAULT 0, -- since its state last moved
    released_at timestamptz, -- when risk control let a surplus refund go
    asked_by text REFERENCES operators,
    approved_by text REFERENCES operators,
    sent_at timestamptz, -- before the channel was first called with this number
    merchant_refund_no text,
    explanation text, -- the merchant's words for it, which the channel is told
    note text, -- why it is where it is
    refund_ref text, -- the channel's own id of it
    reference text, -- of the transfer, when it was returned by hand
    cause text NOT NULL DEFAULT 'settle',
    evidence bigint, -- the raw callback behind the last move
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT a_refund_fits_its_attempt
    FOREIGN KEY (attempt_id, order_id, attempt_state) REFERENCES attempts (id, order_id, state),
    CONSTRAINT two_persons_approve
    CHECK (approved_by IS NULL OR (asked_by IS NOT NULL AND approved_by <> asked_by)),
    -- Surplus leaves only when risk control or two persons let it go.
    CONSTRAINT surplus_is_let_go_before_it_is_sent CHECK (
        reason = 'merchant' OR state NOT IN ('ready', 'sent')
        OR released_at IS NOT NULL OR approved_by IS NOT NULL
    ),
    -- What the machine has begun it looks at again, and what has ended it leaves alone.
    CONSTRAINT what_is_under_way_is_looked_at
    CHECK (state = 'held' OR (state IN ('ready', 'sent')) = (check_at IS NOT NULL))
);
CREATE INDEX refunds_of_attempt ON refunds (attempt_id);
CREATE INDEX refunds_of_order ON refunds (order_id);
CREATE INDEX refunds_by_state ON refunds (state, id DESC);
CREATE INDEX refunds_to_check ON refunds (check_at, id) WHERE check_at IS NOT NULL;
CREATE INDEX refunds_released ON refunds (account, released_at) WHERE released_at IS NOT NULL;
CREATE UNIQUE INDEX one_surplus_refund_per_attempt ON refunds (attempt_id) WHERE reason = 'surplus';
CREATE UNIQUE INDEX one_refund_per_merchant_refund_no ON refunds (order_id, merchant_refund_no)
WHERE merchant_refund_no IS NOT NULL;

-- Every move of every noun, written by triggers; nobody else writes here.
CREATE TABLE journal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id text NOT NULL REFERENCES orders,
    noun text NOT NULL,
    noun_id text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    cause text NOT NULL,
    evidence bigint,
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT only_legal_moves
    FOREIGN KEY (noun, from_state, to_state) REFERENCES legal_moves (noun, from_state, to_state)
);
CREATE INDEX journal_of_order ON journal (order_id, id);

CREATE FUNCTION journal_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO journal (order_id, noun, noun_id, from_state, to_state, cause)
    VALUES (new.id, 'order', new.id, CASE tg_op WHEN 'INSERT' THEN 'none' ELSE old.state END,
            new.state, new.cause);
    RETURN NULL;
END $$;
CREATE FUNCTION journal_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO journal (order_id, noun, noun_id, from_state, to_state, cause, evidence)
    VALUES (new.order_id, 'attempt', new.id, CASE tg_op WHEN 'INSERT' THEN 'none' ELSE old.state END,
            new.state, new.cause, new.evidence);
    RETURN NULL;
END $$;
CREATE FUNCTION journal_refund() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO journal (order_id, noun, noun_id, from_state, to_state, cause, evidence)
    VALUES (new.order_id, 'refund', new.id, CASE tg_op WHEN 'INSERT' THEN 'none' ELSE old.state END,
            new.state, new.cause, new.evidence);
    RETURN NULL;
END $$;
CREATE TRIGGER journal_order_birth AFTER INSERT ON orders
FOR EACH ROW EXECUTE FUNCTION journal_order();
CREATE TRIGGER journal_order_move AFTER UPDATE OF state ON orders
FOR EACH ROW WHEN (old.state IS DISTINCT FROM new.state) EXECUTE FUNCTION journal_order();
CREATE TRIGGER journal_attempt_birth AFTER INSERT ON attempts
FOR EACH ROW EXECUTE FUNCTION journal_attempt();
CREATE TRIGGER journal_attempt_move AFTER UPDATE OF state ON attempts
FOR EACH ROW WHEN (old.state IS DISTINCT FROM new.state) EXECUTE FUNCTION journal_attempt();
CREATE TRIGGER journal_refund_birth AFTER INSERT ON refunds
FOR EACH ROW EXECUTE FUNCTION journal_refund();
CREATE TRIGGER journal_refund_move AFTER UPDATE OF state ON refunds
FOR EACH ROW WHEN (old.state IS DISTINCT FROM new.state) EXECUTE FUNCTION journal_refund();

-- Callbacks as they came, before anybody believed them to be about anything.
CREATE TABLE callbacks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL REFERENCES channel_accounts,
    notification_id text NOT NULL,
    number text NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz, -- null: for a number that we do not know (yet)
    retry_at timestamptz,
    CONSTRAINT one_row_per_notification UNIQUE (account, notification_id)
);
CREATE INDEX callbacks_to_retry ON callbacks (retry_at) WHERE retry_at IS NOT NULL;

-- The outbox and the merchant's event log: committed with the fact, numbered after the commit.
CREATE TABLE events (
    id text PRIMARY KEY,
    merchant text NOT NULL REFERENCES merchants,
    type text NOT NULL CHECK (type IN (
        'order.paid', 'order.closed', 'attempt.surplus',
        'refund.done', 'refund.failed', 'refund.held', 'refund.rejected'
    )),
    order_id text NOT NULL REFERENCES orders,
    version bigint NOT NULL,
    url text, -- where the webhook goes; null: the merchant only pulls
    body text NOT NULL, -- JSON, exactly as signed and sent
    created_at timestamptz NOT NULL DEFAULT now(),
    position bigint UNIQUE, -- given by the numberer in commit order; null: not numbered yet
    deliver_at timestamptz, -- when the webhook is tried next; null: delivered, given up or not wanted
    tries integer NOT NULL DEFAULT 0,
    delivered_at timestamptz,
    given_up_at timestamptz,
    last_error text
);
CREATE INDEX events_of_merchant ON events (merchant, position);
CREATE INDEX events_of_order ON events (order_id);
CREATE INDEX events_to_number ON events (id) WHERE position IS NULL;
CREATE INDEX events_to_deliver ON events (deliver_at) WHERE deliver_at IS NOT NULL;
CREATE SEQUENCE event_positions;

-- Up to which position the message queue was told. Whoever publishes locks the row.
CREATE TABLE event_queue (
    published bigint NOT NULL,
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row)
);
INSERT INTO event_queue (published) VALUES (0);

CREATE TABLE idempotency_keys (
    merchant text NOT NULL REFERENCES merchants,
    method text NOT NULL,
    path text NOT NULL,
    key text NOT NULL,
    body_hash bytea NOT NULL,
    locked_until timestamptz, -- a request is running; null: finished
    status integer,
    answer bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (merchant, method, path, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Windows of time in which the same submission is refused; a row outlives its window until it is tidied.
CREATE TABLE submissions (
    digest bytea PRIMARY KEY, -- SHA-256 of who calls what with which fields
    token bytea NOT NULL, -- of the request that was let in
    ends_at timestamptz NOT NULL
);
CREATE INDEX submissions_by_end ON submissions (ends_at);

-- Where buyers are told how their orders stand: devices that run the merchants' apps.
CREATE TABLE devices (
    order_id text NOT NULL REFERENCES orders,
    digest bytea NOT NULL, -- SHA-256 of order, platform and token: the same device once for an order
    platform text NOT NULL CHECK (platform IN ('fcm', 'apns', 'jpush')),
    token bytea NOT NULL, -- encrypted
    language text NOT NULL,
    told text NOT NULL DEFAULT '', -- the news that was pushed last
    reference text NOT NULL DEFAULT '', -- the platform's own id of that push
    due_at timestamptz, -- when news is pushed (again); null: there is none, or it was given up
    tries integer NOT NULL DEFAULT 0, -- of this news
    leased_until timestamptz, -- somebody pushes until then
    forget_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, digest)
);
CREATE INDEX devices_due ON devices (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX devices_to_forget ON devices (forget_at);

-- News for buyers is due from the statement that makes the event: it commits with the fact.
CREATE FUNCTION tell_devices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE devices SET due_at = now(), tries = 0, forget_at = now() + interval '7 days'
    WHERE order_id = new.order_id;
    RETURN NULL;
END $$;
CREATE TRIGGER tell_devices AFTER INSERT ON events
FOR EACH ROW WHEN (new.type IN ('order.paid', 'order.closed', 'attempt.surplus', 'refund.done'))
EXECUTE FUNCTION tell_devices();

-- The queues are small and hot; the default thresholds would let their statistics lag behind.
ALTER TABLE attempts SET (autovacuum_analyze_scale_factor = 0.02, fillfactor = 80);
ALTER TABLE orders SET (autovacuum_analyze_scale_factor = 0.02, fillfactor = 80);
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
