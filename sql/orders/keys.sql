-- Grain: one row per order that this batch's files name.
SELECT
    'ORDER_ID' AS KEY_NAME,
    ORDERS.ORDER_ID AS KEY_VALUE
FROM ORDERS
