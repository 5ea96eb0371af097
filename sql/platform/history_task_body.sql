-- Makes: the statements of the task, which rebuild the rows of the keys in the stream in one transaction.
-- The commit takes the rows from the stream; after a failure they are still there.
ALTER TASK ${task} MODIFY AS
EXECUTE IMMEDIATE $$
BEGIN
    BEGIN TRANSACTION;
    ${delete};
    ${insert};
    COMMIT;
EXCEPTION
    WHEN OTHER THEN
        ROLLBACK;
        RAISE;
END;
$$
