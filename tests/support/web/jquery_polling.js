/** Polls as jquery-celery does: a fixed path, ids of 36 characters, and all but two states go on. */
(($) => {
  $.fn.polling = function (taskId, interval) {
    const element = this;
    const show = (data) => {
      const { status } = data.task;
      element.attr("data-seen", (_, seen) => [seen, status].filter(Boolean).join(" "));
      if (status !== "PENDING" && data.task.result?.progress_percent !== undefined) {
        element.find(".bar").css("width", `${data.task.result.progress_percent}%`);
      }
      if (status === "SUCCESS" || status === "FAILURE") {
        clearInterval(timer);
        element.attr("data-end", status).text(JSON.stringify(data.task.result));
      }
    };
    const timer = setInterval(() => {
      $.ajax({ url: `/task/${taskId}/status/`, dataType: "json", cache: false, success: show });
    }, interval);
  };
  $(() => $("#task").polling($("#task").attr("data-id"), 100));
})(jQuery);
